"""Policies that are tables of logits, for games whose states are numbered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.capabilities import NumberedGame
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.types import Memory, Policy


class SoftmaxTablePolicy(Policy):
    """pi(a | s) ~ exp logits[s, a], for S states and A actions. Observations (N, 1) are numbers of states."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)  # (S, A) float64

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows (N,) of the table."""
        return observation[:, 0].long()

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        return Categorical(self.logits[rows].float(), legal), memory


@dataclass
class SoftmaxTableSpec:
    """Makes a profile of them for a game with numbered states, of normal numbers at first.

    Raises ValueError for a spread below 0.
    """

    std: float = 1.0  # of the first logits

    def __post_init__(self) -> None:
        check_fields("policy", self, "std", least=0)

    def profile(self, game: NumberedGame) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""
        logits = torch.randn(game.players, len(game.features), game.actions, dtype=torch.float64)
        return [SoftmaxTablePolicy(self.std * each) for each in logits]


def copy_logits(profile: Sequence[Any]) -> list[Tensor]:
    """The logits of all seats, (S, A) each, as leaves of a graph of their own."""
    return [policy.logits.detach().clone().requires_grad_() for policy in profile]


@torch.no_grad()
def step_logits(profile: Sequence[Any], slopes: Sequence[Tensor], rate: float) -> None:
    """Adds rate * slope to the logits of all seats."""
    for policy, slope in zip(profile, slopes, strict=True):
        policy.logits += rate * slope
