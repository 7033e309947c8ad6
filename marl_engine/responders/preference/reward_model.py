"""A reward model learned from compared trajectories: P(i is preferred to j) = sigma(sum of rewards of i - that of j).

Christiano et al. 2017, "Deep reinforcement learning from human preferences" (arXiv:1706.03741, section 2.2.3), after
Bradley and Terry (1952). The reward is a function of a single step, so it cannot represent preferences that depend on a
whole trajectory; and since scores are numbers, it cannot represent cycles.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.networks.mlp import MLP
from marl_engine.numerics.adam import Adam

GRADIENT_NORM = 1.0


class TrajectoryComparisons(NamedTuple):
    """C comparisons among N trajectories of H steps."""

    steps: Tensor  # (H, N, F) features of each step
    pairs: Tensor  # (C, 2) int64
    outcomes: Tensor  # (C,) 1 where the first was preferred, 0 where the second was


def bradley_terry(scores: Tensor, pairs: Tensor, outcomes: Tensor) -> Tensor:
    """-mean [o log sigma(s_i - s_j) + (1 - o) log sigma(s_j - s_i)] of scores (N,), pairs (C, 2), outcomes o (C,)."""
    lead = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    return F.binary_cross_entropy_with_logits(lead, outcomes.to(lead.dtype))


class RewardModel:
    """A network from features of steps (..., F) to rewards (...,).

    The score of a trajectory is the sum of its rewards.
    """

    STATE = ("network", "optimiser")

    def __init__(self, features: int, hidden: Sequence[int], learning_rate: float, seed: int, device: str = "cpu"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = MLP(torch.zeros(features), hidden, 1, seats=0, activation="tanh", gain=0.01)
        self.network.to(device)
        self.optimiser, self.learning_rate = Adam(self.network), learning_rate

    def rewards(self, steps: Tensor) -> Tensor:
        """Returns rewards (...,) for features of steps (..., F)."""
        return self.network(steps.flatten(0, -2)).view(steps.shape[:-1])

    def improve(self, comparisons: TrajectoryComparisons) -> float:
        """Takes a gradient step on the loss of some comparisons; returns the loss. Raises Diverged."""
        loss = bradley_terry(self.rewards(comparisons.steps).sum(0), comparisons.pairs, comparisons.outcomes)
        self.optimiser.step(loss, self.learning_rate, GRADIENT_NORM)
        return loss.item()

    @torch.no_grad()
    def standardised_rewards(self, steps: Tensor) -> Tensor:
        """Returns rewards (H, N) for steps (H, N, F), with mean 0 and standard deviation 1.

        Comparisons determine only differences of rewards.
        """
        rewards = self.rewards(steps)
        return (rewards - rewards.mean()) / (rewards.std(unbiased=False) + 1e-8)
