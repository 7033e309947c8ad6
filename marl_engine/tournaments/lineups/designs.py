"""Which entrants meet in a line-up, and in which seats: combinatorial designs, as pure functions."""

from collections.abc import Container, Iterable
from itertools import combinations, combinations_with_replacement
from math import comb

import numpy as np

from marl_engine.ratings.lineups import Lineup


def williams_design(players: int) -> np.ndarray:
    """Returns who of P entrants sits in each seat of each seating, (K, P).

    Each entrant sits in each seat equally often, and each one sits directly before each other one equally often. K is P
    if P is even, otherwise 2 P (Williams 1949, "Experimental designs balanced for the estimation of residual effects").
    """
    first = [(number + 1) // 2 if number % 2 else -(number // 2) for number in range(players)]  # 0, 1, -1, 2, -2, …
    square = np.add.outer(np.arange(players), first) % players
    return square if players % 2 == 0 else np.concatenate([square, square[:, ::-1]])


def choose_lineups(count: int, players: int, shared: int, played: Iterable[Lineup] = ()) -> list[Lineup]:
    """Returns line-ups of P of N entrants, so that each two entrants share `shared` of them or more.

    Line-ups that were `played` come first. The others are all that there are, if two entrants share no more than
    `shared`. Otherwise they are chosen one after another: the two entrants that met least, and those that met these
    least. The choice depends only on the line-ups before, so that a list that was interrupted goes on as it began.
    """
    lineups = dict.fromkeys(tuple(sorted(lineup)) for lineup in played)
    if shared >= comb(count - 2, players - 2):
        return list(lineups | dict.fromkeys(combinations(range(count), players)))
    met = np.zeros((count, count), int)
    np.fill_diagonal(met, np.iinfo(int).max // count)
    for lineup in lineups:
        note_meeting(met, lineup)
    while met.min() < shared:
        lineup = next_lineup(met, players, lineups)
        note_meeting(met, lineup)
        lineups[lineup] = None
    return list(lineups)


def next_lineup(met: np.ndarray, players: int, before: Container[Lineup]) -> Lineup:
    """Returns a new line-up for how often entrants met, (N, N); ties are broken by their order."""
    pair = [int(each) for each in np.unravel_index(met.argmin(), met.shape)]
    chosen = list(pair)
    while len(chosen) < players:
        chosen.append(int(met[chosen].sum(0).argmin()))
    lineup = tuple(sorted(chosen))
    if lineup not in before:
        return lineup
    order = np.argsort(met[pair].sum(0), kind="stable").tolist()[:-2]  # without the pair, which never meets itself
    every = (tuple(sorted([*pair, *rest])) for rest in combinations(order, players - 2))
    return next(lineup for lineup in every if lineup not in before)


def note_meeting(met: np.ndarray, lineup: Lineup) -> None:
    """Counts a line-up among how often entrants met, (N, N)."""
    for one, other in combinations(lineup, 2):
        met[one, other] += 1
        met[other, one] += 1


def with_copies(count: int, players: int) -> list[Lineup]:
    """Returns all line-ups in which some entrant sits in several seats."""
    every = combinations_with_replacement(range(count), players)
    return [lineup for lineup in every if len(set(lineup)) < players]
