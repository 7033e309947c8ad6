"""The tree of a game with chance and imperfect information, as arrays."""

from typing import NamedTuple

import numpy as np

CHANCE, END = -1, -2


class Tree(NamedTuple):
    """N histories, C children and I information sets, in depth-first order."""

    player: np.ndarray  # (N,) int8: whose move it is, CHANCE or END
    infoset: np.ndarray  # (N,) int32: information set; at a terminal history: row of `payoff`; else -1
    child: np.ndarray  # (N + 1,) int32: where the children of each history begin
    to: np.ndarray  # (C,) int32: the history of each child, in the order of legal actions
    chance: np.ndarray  # (C,) float64: its probability; 1 where a player moves
    payoff: np.ndarray  # (ends, P) float64
    legal: np.ndarray  # (I, A) bool
    tensor: np.ndarray  # (I, D) float32: OpenSpiel's tensor of the information state or observation, or a number
    name: np.ndarray  # (I,) str: OpenSpiel's string of the information set
    label: np.ndarray  # (L,) int32: index in `word` of each legal action, one information set after another
    word: np.ndarray  # (W,) str: names of actions


def cumulative_chance(tree: Tree) -> np.ndarray:
    """Returns the cumulative probabilities (C,) of the children of each history."""
    total = np.cumsum(tree.chance)
    before = np.concatenate([[0.0], total])[tree.child[:-1]]
    return total - np.repeat(before, np.diff(tree.child))
