"""Matches of many pairs at once, in games whose tree is in memory, by entrants that are functions of information sets.

Each entrant is one strategy (S,). A compiled loop plays whole games of all pairs (`play_pairs`), or adds up every path
of the tree with its probability (`weigh_pairs`), which gives expectations instead of samples.
"""

from copy import deepcopy
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.extensive_form.paths import (
    CHANCE,
    CHILD,
    COUNT,
    END,
    FIRST,
    MOVER,
    ONE,
    Paths,
    paths,
    play_to_end,
)
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.threads import split_rows
from marl_engine.policies.strategy import extract_strategy
from marl_engine.ratings.results import TIE, Tally
from marl_engine.tournaments.entrants import Entrant
from marl_engine.tournaments.matches import seatings

NUMBERS = len(Tally._fields)


class TreePlay(NamedTuple):
    """A game tree, and the strategies of N entrants in it."""

    paths: Paths
    strategies: np.ndarray  # (N, S) float64


def find_paths(game: Any) -> Paths | None:
    """Returns the tree of a game; None if it is not in memory. A game in normal form is a tree of P moves."""
    able = capabilities_of(game)
    if able.tree is not None:
        return paths(able.tree.tree, able.tree.form)
    if able.extensive is not None and is_one_shot(able.extensive):
        return one_shot_paths(able.extensive)
    return None


def is_one_shot(game: ExtensiveGame) -> bool:
    """Whether every player of a game decides once, at the same time, and chance does nothing."""
    joint = int(np.prod(game.legal.sum(1)))
    once = np.array_equal(game.form.begin, np.arange(game.players + 1))
    return once and bool((game.form.chance == 1).all()) and len(game.form.chance) <= joint * game.players


def one_shot_paths(game: Any) -> Paths:
    """Returns the tree of a game in normal form, whose payoffs are found by playing all combinations of actions."""
    choices = [np.flatnonzero(row) for row in game.legal]
    joint, game = torch.tensor(list(product(*choices))), deepcopy(game)
    game.reset(torch.zeros(len(joint), dtype=torch.int64))
    payoff = game.step(joint).reward.double().numpy()
    counts = [len(each) for each in choices]
    widths = np.cumprod([1, *counts])  # histories on each level
    starts = np.cumsum([0, *widths])
    levels = [
        np.stack(
            [
                np.full(width, player),
                np.full(width, game.form.first[player]),
                starts[player + 1] + np.arange(width) * counts[player],
                np.full(width, counts[player]),
            ],
            axis=1,
        )
        for player, width in enumerate(widths[:-1])
    ]
    last = np.arange(widths[-1])
    levels.append(np.stack([np.full(len(last), END), last, np.zeros_like(last), np.zeros_like(last)], axis=1))
    history = np.concatenate(levels).astype(np.uint32)
    return Paths(history, np.zeros(len(history)), np.ascontiguousarray(payoff))


def is_tabular(entrant: Entrant) -> bool:
    """Whether an entrant is a function of information sets in a numbered game."""
    return entrant.has_policies and all(policy.tabular for policy in entrant.profile)


def prepare_tree_play(game: Any, entrants: list[Entrant]) -> TreePlay | None:
    """Returns the tree of a game and the strategies of entrants; None if the tree is not in memory.

    Strategies of entrants that are not tabular are empty.
    """
    tree = find_paths(game)
    if tree is None:
        return None
    rows = [extract_strategy(game, each.profile) if is_tabular(each) else None for each in entrants]
    strategies = np.zeros((len(rows), game.form.sequences))
    for row, strategy in zip(strategies, rows, strict=True):
        if strategy is not None:
            row[:] = strategy
    return TreePlay(tree, strategies)


def play_pairs(play: TreePlay, pairs: np.ndarray, seeds: Tensor, keys: np.ndarray) -> np.ndarray:
    """Returns tallies (M, 9) of pairs (M, 2) of entrants that play deals with seeds (D,) ^ `keys` (M,) int64."""
    slots, tallies = pair_slots(play), np.zeros((len(pairs), NUMBERS))
    deals, keys = seeds.numpy().view(np.uint64), keys.view(np.uint64)

    def work(_: int, begin: int, end: int) -> None:
        play_pairs_compiled(play.paths, play.strategies, pairs, slots, deals, keys, begin, end, tallies)

    split_rows(work, len(pairs), at_least=1)
    return tallies


def weigh_pairs(play: TreePlay, pairs: np.ndarray) -> np.ndarray:
    """Returns the expected tallies (M, 9) of a single deal of pairs (M, 2), over all paths of the tree."""
    slots, tallies = pair_slots(play), np.zeros((len(pairs), NUMBERS))
    reach = np.zeros((torch.get_num_threads(), len(play.paths.history)))

    def work(share: int, begin: int, end: int) -> None:
        weigh_pairs_compiled(play.paths, play.strategies, pairs, slots, begin, end, reach[share], tallies)

    split_rows(work, len(pairs), at_least=1)
    return tallies


def pair_slots(play: TreePlay) -> np.ndarray:
    """Returns who of a pair, 0 or 1, sits in each seat of each seating, (K, P)."""
    return np.where(seatings(play.paths.payoff.shape[1]), 0, 1)


@compile_inline
def spread_reach(paths, strategies, entrants, slots, history, reach):
    """Writes the probabilities of the children of a history; those of its own are known. Ends have no children."""
    mover, start = paths.history[history, MOVER], paths.history[history, FIRST]
    child, count = paths.history[history, CHILD], paths.history[history, COUNT]
    if mover == CHANCE:
        for number in range(count):
            later = paths.since[child + number + ONE] if number + ONE < count else 1.0
            reach[child + number] = reach[history] * (later - paths.since[child + number])
    elif mover != END:
        for number in range(count):
            reach[child + number] = reach[history] * strategies[entrants[slots[mover]], start + number]


@compile_inline
def mean_payoffs(paths, row, slots):
    """Returns the mean payoffs at an end of the seats with slot 0, and of the others."""
    one, other, seats = 0.0, 0.0, 0
    for player in range(slots.size):
        if slots[player] == 0:
            one += paths.payoff[row, player]
            seats += 1
        else:
            other += paths.payoff[row, player]
    return one / seats, other / (slots.size - seats)


@compile_loop
def play_pairs_compiled(paths, strategies, pairs, slots, seeds, keys, begin, end, tallies):
    """Adds up the games of pairs `begin` to `end`. A game is a function of the seed and the strategies."""
    for pair in range(begin, end):
        tally = tallies[pair]
        for deal in range(seeds.size):
            first, second = 0.0, 0.0
            for seating in range(slots.shape[0]):
                row = play_to_end(paths, strategies, pairs[pair], slots[seating], seeds[deal] ^ keys[pair])
                one, other = mean_payoffs(paths, row, slots[seating])
                first += one / slots.shape[0]
                second += other / slots.shape[0]
                tally[1] += 1
                if np.abs(one - other) <= TIE * (1 + np.abs(one)):
                    tally[3] += 1
                elif one > other:
                    tally[2] += 1
            tally[0] += 1
            tally[4] += first
            tally[5] += second
            tally[6] += first * first
            tally[7] += second * second
            tally[8] += first * second


@compile_loop
def weigh_pairs_compiled(paths, strategies, pairs, slots, begin, end, reach, tallies):
    """Adds up all paths of the tree for pairs `begin` to `end`; `reach` (N,) is working memory.

    Children come after their parents, so one pass computes the probabilities of all histories.
    """
    for pair in range(begin, end):
        tally = tallies[pair]
        for seating in range(slots.shape[0]):
            reach[0] = 1.0
            for history in range(paths.history.shape[0]):
                spread_reach(paths, strategies, pairs[pair], slots[seating], history, reach)
                if paths.history[history, MOVER] == END and reach[history] > 0:
                    one, other = mean_payoffs(paths, paths.history[history, FIRST], slots[seating])
                    weight = reach[history] / slots.shape[0]
                    tally[4] += weight * one
                    tally[5] += weight * other
                    if np.abs(one - other) <= TIE * (1 + np.abs(one)):
                        tally[3] += weight
                    elif one > other:
                        tally[2] += weight
        tally[0], tally[1] = 1.0, 1.0
        tally[6], tally[7], tally[8] = tally[4] * tally[4], tally[5] * tally[5], tally[4] * tally[5]
