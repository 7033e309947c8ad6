"""Elo ratings from the orders of games of more than two entrants, by maximum likelihood in the model of Plackett, Luce.

The winner is chosen among all entrants of a game with probabilities proportional to exp(r), the second among the rest,
and so on (Plackett 1975; with two entrants this is the model of Bradley and Terry). Entrants that earn the same count
as all of their orders, each with an equal share of the game; with two entrants that is half a win for both. The
likelihood is concave, and has a finite maximum under the same condition as that of pairs (Hunter 2004, section 4).
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from marl_engine.ratings.lineups import Lineups


class Choices(NamedTuple):
    """Who was placed before the others of a set, in C different sets of up to P entrants."""

    among: np.ndarray  # (C, P) int, filled up with 0
    present: np.ndarray  # (C, P) bool: which of these are members
    chosen: np.ndarray  # (C, P) number of times that each was placed before the others of the set


def list_choices(lineups: Lineups) -> Choices:
    """Returns the choices that make up the orders of line-ups of different entrants."""
    totals: dict[tuple[int, ...], np.ndarray] = {}
    for number in np.flatnonzero(lineups.different):
        entrants = lineups.entrants[number]
        for members, counts in choices_of(lineups.orders[number]).items():
            key = tuple(entrants[list(members)].tolist())
            totals[key] = totals.get(key, 0.0) + counts
    shape = (len(totals), lineups.entrants.shape[1])
    among, present, chosen = np.zeros(shape, int), np.zeros(shape, bool), np.zeros(shape)
    for row, (members, counts) in enumerate(totals.items()):
        among[row, : len(members)], present[row, : len(members)], chosen[row, : len(members)] = members, True, counts
    return Choices(among, present, chosen)


def choices_of(orders: Mapping[tuple[int, ...], float]) -> dict[tuple[int, ...], np.ndarray]:
    """Returns for each set of two places or more in a line-up how often each member was placed before the others."""
    totals: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(1))
    for places, games in orders.items():
        for value in sorted(set(places)):
            equals = [each for each, place in enumerate(places) if place == value]
            behind = [each for each, place in enumerate(places) if place > value]
            for size in range(1, len(equals) + 1):  # of the equals that are not placed yet
                for rest in combinations(equals, size):
                    members = tuple(sorted([*rest, *behind]))
                    if len(members) > 1:
                        share = games / comb(len(equals), size) / size
                        totals[members] = totals[members] + share * np.isin(members, rest)
    return totals


def derive(rating: np.ndarray, choices: Choices) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient (N,) of the log-likelihood of ratings (N,), and the Fisher information (N, N)."""
    strength = np.where(choices.present, rating[choices.among], -np.inf)
    chance = np.exp(strength - strength.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    games, count = choices.chosen.sum(1, keepdims=True), len(rating)
    gradient = np.bincount(choices.among.ravel(), (choices.chosen - games * chance).ravel(), count)
    joint = games[:, :, None] * (chance[:, :, None] * np.eye(chance.shape[1]) - chance[:, :, None] * chance[:, None])
    flat = choices.among[:, :, None] * count + choices.among[:, None]
    return gradient, np.bincount(flat.ravel(), joint.ravel(), count * count).reshape(count, count)
