"""The tree of a game with chance and imperfect information, as arrays."""

from typing import NamedTuple

import numpy as np

CHANCE, END = -1, -2


class Tree(NamedTuple):
    """N histories, C children, I information sets, in the order in which they are found, depth first."""

    player: np.ndarray  # (N,) int8: whose move it is, CHANCE or END
    infoset: np.ndarray  # (N,) int32: number among all information sets; at an end: row of `payoff`; else -1
    child: np.ndarray  # (N + 1,) int32: where the children of each history begin
    to: np.ndarray  # (C,) int32: the history that a child is; a player's are in the order of its legal actions
    chance: np.ndarray  # (C,) float64: its probability; 1 where a player moves
    payoff: np.ndarray  # (ends, P) float64
    legal: np.ndarray  # (I, A) bool
    tensor: np.ndarray  # (I, D) float32: OpenSpiel's of the information set, or of what is seen, or else its number
    name: np.ndarray  # (I,) str: OpenSpiel's string of it
    label: (
        np.ndarray
    )  # (L,) int32: which of the words a legal action is called by; information set after information set
    word: np.ndarray  # (W,) str: what actions are called


def cumulative_chance(tree: Tree) -> np.ndarray:
    """Probabilities of children (C,) cumulated within each history."""
    total = np.cumsum(tree.chance)
    before = np.concatenate([[0.0], total])[tree.child[:-1]]
    return total - np.repeat(before, np.diff(tree.child))
