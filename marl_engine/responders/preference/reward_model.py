"""A reward model of compared trajectories: the one with the larger sum of rewards is the likelier to be preferred.

Christiano et al. 2017, "Deep reinforcement learning from human preferences" (arXiv:1706.03741, section 2.2.3), after
Bradley and Terry (1952). Rewards are a function of one step, so that no model of them knows what a whole trajectory
is good for, and of one number, so that none runs in circles.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.networks.mlp import MLP
from marl_engine.numerics.adam import Adam

GRADIENT_NORM = 1.0


class Comparisons(NamedTuple):
    """C comparisons among N trajectories of H steps."""

    steps: Tensor  # (H, N, F) what each step is known by
    pairs: Tensor  # (C, 2) int64
    outcomes: Tensor  # (C,) 1 where the first was preferred, 0 where the second was


def bradley_terry(scores: Tensor, pairs: Tensor, outcomes: Tensor) -> Tensor:
    """-mean [o log sigma(s_i - s_j) + (1 - o) log sigma(s_j - s_i)] of scores (N,), pairs (C, 2), outcomes o (C,)."""
    lead = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    return F.binary_cross_entropy_with_logits(lead, outcomes.to(lead.dtype))


class RewardModel:
    """Rewards (...,) of steps (..., F); a score is the sum over a trajectory."""

    def __init__(self, features: int, hidden: Sequence[int], learning_rate: float, seed: int, device: str = "cpu"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = MLP(torch.zeros(features), hidden, 1, seats=0, activation="tanh", gain=0.01)
        self.network.to(device)
        self.descent, self.learning_rate = Adam(self.network), learning_rate

    def rewards(self, steps: Tensor) -> Tensor:
        """(...,) of steps (..., F)."""
        return self.network(steps.flatten(0, -2)).view(steps.shape[:-1])

    def improve(self, asked: Comparisons) -> float:
        """A step down the loss of some comparisons; returns the loss. Raises Diverged."""
        loss = bradley_terry(self.rewards(asked.steps).sum(0), asked.pairs, asked.outcomes)
        self.descent.step(loss, self.learning_rate, GRADIENT_NORM)
        return loss.item()

    @torch.no_grad()
    def standardised(self, steps: Tensor) -> Tensor:
        """Rewards (H, N) of steps (H, N, F), of mean 0 and deviation 1: only differences were ever compared."""
        found = self.rewards(steps)
        return (found - found.mean()) / (found.std(unbiased=False) + 1e-8)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "descent": self.descent.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.descent.restore(state["descent"])
