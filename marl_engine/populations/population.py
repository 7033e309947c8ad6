"""A population: frozen policies (members) for every seat, and the payoff table of their combinations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from marl_engine.numerics.state import set_fields
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.weights import copy_with_weights, weights_equal
from marl_engine.types import Policy, Profile, Runner


class Cell(NamedTuple):
    """A combination of members whose payoffs are to be measured: a pure job's argument."""

    members: Profile
    number: int  # cells that were filled before it


class Population:
    """Seat p has n_p members. A cell of the payoff table is a combination of members, one for each seat."""

    STATE = ("members", "mean", "count")

    def __init__(self, players: int):
        self.members: list[list[Policy]] = [[] for _ in range(players)]
        self.mean, self.count = empty_table(players)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Returns the numbers of members n_0, n_1, …"""
        return tuple(map(len, self.members))

    def grow(self, newcomers: Profile, seats: Sequence[int] | None = None, *, again: bool = False) -> int:
        """Adds a copy of the policy of each seat, or of the given seats; returns how many were added.

        A policy that equals a member is added only if `again` is true.
        """
        added = 0
        for seat in range(len(newcomers)) if seats is None else seats:
            if again or not any(weights_equal(newcomers[seat], member) for member in self.members[seat]):
                self.members[seat] += freeze([newcomers[seat]])
                added += 1
        margins = [(0, new - old) for new, old in zip(self.sizes, self.count.shape, strict=True)]
        self.mean, self.count = np.pad(self.mean, [(0, 0), *margins]), np.pad(self.count, margins)
        return added

    def fill(self, runner: Runner, measure: Callable[[Cell], tuple[np.ndarray, float]]) -> int:
        """Fills every empty cell and returns how many there were.

        `measure` is a pure function: the payoffs (P,) of a cell, and of how many games they are the mean.
        """
        filled = int((self.count > 0).sum())
        empty = [tuple(cell) for cell in np.argwhere(self.count == 0)]
        cells = [
            Cell([options[index] for options, index in zip(self.members, cell, strict=True)], filled + number)
            for number, cell in enumerate(empty)
        ]
        for cell, (payoffs, games) in zip(empty, runner.map(measure, cells), strict=True):
            self.mean[(slice(None), *cell)], self.count[cell] = payoffs, games
        return len(empty)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Makes the members from copies of the first ones, and restores the table; see `set_state`."""
        self.members = [
            [copy_with_weights(members[0], weights) for weights in saved]
            for members, saved in zip(self.members, state["members"], strict=True)
        ]
        self.mean, self.count = empty_table(len(self.members))
        set_fields(self, state, ("mean", "count"))


def empty_table(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the payoffs of each seat (P, n_0, n_1, …), and numbers of games (n_0, n_1, …), infinite if exact."""
    return np.zeros((players, *[0] * players)), np.zeros([0] * players)


def support(mixtures: Sequence[np.ndarray], least: float = 1e-6) -> float:
    """Returns the number of members that a mixture plays, as a mean over the seats."""
    return float(np.mean([(mixture > least).sum() for mixture in mixtures]))
