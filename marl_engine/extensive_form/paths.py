"""Sampled play of whole games along a game tree, in compiled loops."""

from typing import Any, NamedTuple

import numpy as np

from marl_engine.extensive_form.sequence_form import SequenceForm
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.rng import WORD_GOLDEN, mix_word

CHANCE, END = 254, 255  # movers other than players
MOVER, FIRST, CHILD, COUNT = range(4)  # columns of `Paths.history`
RIGHT_11 = np.uint64(11)
ROOT, ONE = np.uint64(0), np.uint64(1)


class Paths(NamedTuple):
    """A tree of N histories, renumbered so that the children of each history are adjacent.

    The fields of a history are stored together, because traversals are limited by memory access. Indices are unsigned,
    as in `SequenceForm`.
    """

    history: np.ndarray  # (N, 4) uint32: mover, first sequence (at an end: row of `payoff`), first child, children
    since: np.ndarray  # (N,) float64: cumulative probability of the preceding siblings at a chance node
    payoff: np.ndarray  # (ends, P) float64


def paths(tree: Any, form: SequenceForm) -> Paths:
    """Returns the arrays of a tree with the information sets of a form; children are in the order of actions."""
    order = np.concatenate([[0], tree.to])  # siblings are adjacent in `to`
    mover, infoset, count = tree.player[order].astype(np.int64), tree.infoset[order], np.diff(tree.child)
    first = np.where(mover >= 0, form.first[np.where(mover >= 0, infoset, 0)], infoset)
    mover = np.select([mover == -1, mover == -2], [CHANCE, END], mover)
    upto = np.concatenate([[0.0], np.cumsum(tree.chance)])
    since = np.concatenate([[0.0], upto[:-1] - np.repeat(upto[tree.child[:-1]], count)])
    history = np.stack([mover, first, tree.child[order] + 1, count[order]], axis=1)
    return Paths(history.astype(np.uint32), since, np.ascontiguousarray(tree.payoff))


@compile_inline
def keyed_uniform(key, place):
    """Returns the uniform number in [0, 1) at a position of the sequence with a key."""
    return np.float64(mix_word(key + WORD_GOLDEN * np.uint64(place + 1)) >> RIGHT_11) * 2.0**-53


@compile_inline
def sample_chance(paths, history, noise):
    """Samples a child of a chance node.

    The loop does not stop early, since a mispredicted branch costs more than the remaining iterations.
    """
    child = np.uint64(paths.history[history, CHILD])
    outcome = child
    for sibling in range(child + ONE, child + paths.history[history, COUNT]):
        if paths.since[sibling] <= noise:
            outcome = sibling
    return outcome


@compile_inline
def sample_action(paths, strategy, history, noise):
    """Samples a child of a decision by the strategy (S,) of the seat that moves."""
    first, count = paths.history[history, FIRST], paths.history[history, COUNT]
    since, chosen = 0.0, first
    for sequence in range(first, first + count):
        if since <= noise and strategy[sequence] > 0:
            chosen = sequence
        since += strategy[sequence]
    return paths.history[history, CHILD] + (chosen - first)


@compile_inline
def play_to_end(paths, strategies, entrants, slots, seed):
    """Returns the row of `payoff` of a game, a function of the seed.

    Seat p follows row entrants[slots[p]] of strategies (N, S).
    """
    key, place, history = mix_word(seed), 0, ROOT
    mover = paths.history[history, MOVER]
    while mover != END:
        noise = keyed_uniform(key, place)
        place += 1
        if mover == CHANCE:
            history = sample_chance(paths, history, noise)
        else:
            history = sample_action(paths, strategies[entrants[slots[mover]]], history, noise)
        mover = paths.history[history, MOVER]
    return paths.history[history, FIRST]


def play_games(paths: Paths, strategy: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Returns payoffs (B, P) of a game for each seed (B,) uint64; all players follow a strategy (S,)."""
    earned = np.empty((len(seeds), paths.payoff.shape[1]))
    everybody = np.zeros(earned.shape[1], np.int64)
    play_games_compiled(paths, strategy[None], everybody, seeds, earned)
    return earned


@compile_loop
def play_games_compiled(paths, strategies, slots, seeds, earned):
    """Writes the payoffs of game b, a function of seeds[b], into earned[b]; slots (P,) are those of `play_to_end`."""
    for game in range(seeds.size):
        end = play_to_end(paths, strategies, slots, slots, seeds[game])
        for player in range(earned.shape[1]):
            earned[game, player] = paths.payoff[end, player]
