"""A policy and its critic, and the batches that they learn from."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.networks.mlp import MLP
from marl_engine.networks.sparse_input import END
from marl_engine.numerics.adam import Adam
from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Policy, Turn


class KLTerm(NamedTuple):
    """A policy that the learner is held near: it pays `weight` * KL(pi || policy), in units of payoff."""

    policy: Policy
    weight: float


class SeatBatch(NamedTuple):
    """What one policy learns from: some seats of a stretch of play, and the turn after it."""

    trajectory: Trajectory
    after: Turn
    seats: list[int]


class PolicyBatch(NamedTuple):
    """N decisions of one policy: what it learns from."""

    rows: Tensor  # (N, ...) what it was shown, as it encodes it
    legal: Tensor | None  # (N, A) bool
    action: Tensor  # (N,) int64, or (N, D) of numbers
    log_prob: Tensor  # (N,) when it was taken
    advantage: Tensor  # (N,)


class CriticBatch(NamedTuple):
    """N values of its critic: what that learns from."""

    rows: Tensor  # (N, ...) what it was shown
    target: Tensor  # (N,)
    value: Tensor  # (N,) before learning


Batch = TypeVar("Batch", PolicyBatch, CriticBatch)


def select_rows(batch: Batch, index: Tensor) -> Batch:
    """Some of the rows, by number or by mask."""
    return type(batch)(*(None if each is None else each[index] for each in batch))  # type: ignore[arg-type]


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Several batches as one; lists of differences are filled up to the same length."""
    if len(batches) == 1:
        return batches[0]
    columns = []
    for each in zip(*batches, strict=True):
        if each[0] is not None and each[0].dtype == torch.int32:
            longest = max(lists.shape[1] for lists in each)
            each = tuple(F.pad(lists, (0, longest - lists.shape[1]), value=END) for lists in each)
        columns.append(None if each[0] is None else torch.cat(each))
    return type(batches[0])(*columns)  # type: ignore[arg-type]


class ActorCritic:
    """One policy and its critic."""

    def __init__(self, policy: Policy, critic: MLP):
        self.policy, self.critic = policy, critic
        self.policy_optimiser, self.critic_optimiser = Adam(policy), Adam(critic)

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the policy is saved with its profile."""
        return {
            "critic": self.critic.state_dict(),
            "policy_optimiser": self.policy_optimiser.state(),
            "critic_optimiser": self.critic_optimiser.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.critic.load_state_dict(state["critic"])
        self.policy_optimiser.restore(state["policy_optimiser"])
        self.critic_optimiser.restore(state["critic_optimiser"])
