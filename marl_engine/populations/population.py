"""A population: frozen members for every seat, and what each combination of them earns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from marl_engine.policies.mixture import freeze
from marl_engine.policies.weights import copy_with_weights, weights_equal
from marl_engine.types import Policy, Profile


class Population:
    """n_p members of seat p. A combination of them, one for each seat, is a cell of the payoff table."""

    def __init__(self, players: int):
        self.members: list[list[Policy]] = [[] for _ in range(players)]
        self.mean = np.zeros((players, *[0] * players))  # (P, n_0, n_1, …) the payoff of each seat
        self.count = np.zeros([0] * players)  # (n_0, n_1, …) of games it is the mean of; infinite where it is exact

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0, n_1, …"""
        return tuple(map(len, self.members))

    def grow(self, newcomers: Profile, seats: Sequence[int] | None = None, *, again: bool = False) -> int:
        """Takes a copy of the policy of each seat, or of some; returns how many.

        One that equals a member is taken only with `again`.
        """
        found = 0
        for seat in range(len(newcomers)) if seats is None else seats:
            if again or not any(weights_equal(newcomers[seat], member) for member in self.members[seat]):
                self.members[seat] += freeze([newcomers[seat]])
                found += 1
        margins = [(0, new - old) for new, old in zip(self.sizes, self.count.shape, strict=True)]
        self.mean, self.count = np.pad(self.mean, [(0, 0), *margins]), np.pad(self.count, margins)
        return found

    def fill(self, measure: Callable[[Profile, int], tuple[np.ndarray, float]]) -> int:
        """Measures the payoffs (P,) of every cell that is empty, and in how many games; returns how many cells.

        `measure` takes the profile of a cell, and how many cells were filled before.
        """
        filled = int((self.count > 0).sum())
        empty = [tuple(cell) for cell in np.argwhere(self.count == 0)]
        for number, cell in enumerate(empty):
            members = [known[index] for known, index in zip(self.members, cell, strict=True)]
            self.mean[(slice(None), *cell)], self.count[cell] = measure(members, filled + number)
        return len(empty)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "members": [[member.state_dict() for member in known] for known in self.members],
            "mean": torch.from_numpy(self.mean),
            "count": torch.from_numpy(self.count),
        }

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint; `profile` has policies of the kind that the members are."""
        self.members = [
            [copy_with_weights(policy, weights) for weights in known]
            for policy, known in zip(profile, state["members"], strict=True)
        ]
        self.mean, self.count = state["mean"].numpy().copy(), state["count"].numpy().copy()


def support(mixtures: Sequence[np.ndarray], least: float = 1e-6) -> float:
    """How many members a mixture plays, the mean over seats."""
    return float(np.mean([(mixture > least).sum() for mixture in mixtures]))
