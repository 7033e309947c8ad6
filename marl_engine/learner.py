"""A policy and its critic, and how one gradient step moves them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_engine.perceptron import Perceptron, flattened
from marl_engine.sparse import END
from marl_engine.types import Policy


class Diverged(RuntimeError):
    """A loss was not a finite number; the policies are as they were before it."""


class Decisions(NamedTuple):
    """N decisions of one policy: what it learns from."""

    rows: Tensor  # (N, ...) what it was shown, as it encodes it
    legal: Tensor | None  # (N, A) bool
    action: Tensor  # (N,) int64
    log_prob: Tensor  # (N,) when it was taken
    advantage: Tensor  # (N,)


class Estimates(NamedTuple):
    """N values of its critic: what that learns from."""

    rows: Tensor  # (N, ...) what it was shown
    target: Tensor  # (N,)
    value: Tensor  # (N,) before learning


Batch = TypeVar("Batch", Decisions, Estimates)


def take(batch: Batch, index: Tensor) -> Batch:
    """Some of the rows, by number or by mask."""
    return type(batch)(*(None if each is None else each[index] for each in batch))  # type: ignore[arg-type]


def joined(batches: Sequence[Batch]) -> Batch:
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


class Descent:
    """The parameters of one module as one vector, and the Adam that moves it."""

    def __init__(self, module: nn.Module):
        self.vector, self.gradient = flattened(module)
        self.optimiser = torch.optim.Adam([self.vector], lr=0.0, eps=1e-5, fused=True)

    def step(self, loss: Tensor, learning_rate: float, norm: float) -> None:
        """One step down a loss. Raises Diverged, and changes nothing, when its gradient is not finite."""
        gradient = self.gradient.zero_()
        loss.backward()
        length = gradient.norm().item()
        if not math.isfinite(length):
            raise Diverged("the loss is not finite; try a smaller responder.learning_rate or another seed")
        gradient.mul_(min(1.0, norm / (length + 1e-6)))
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """Adam's moments, for a checkpoint."""
        return self.optimiser.state_dict()["state"].get(0, {})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from a checkpoint."""
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": {0: state} if state else {}})


class Learner:
    """One policy and its critic."""

    def __init__(self, policy: Policy, critic: Perceptron):
        self.policy, self.critic = policy, critic
        self.policy_descent, self.critic_descent = Descent(policy), Descent(critic)

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the policy is saved with its profile."""
        return {
            "critic": self.critic.state_dict(),
            "policy_descent": self.policy_descent.state(),
            "critic_descent": self.critic_descent.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.critic.load_state_dict(state["critic"])
        self.policy_descent.restore(state["policy_descent"])
        self.critic_descent.restore(state["critic_descent"])
