"""A policy and its critic, and how one gradient step moves them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_engine.cores import compiled
from marl_engine.errors import Halted
from marl_engine.perceptron import Perceptron, flattened
from marl_engine.sparse import END
from marl_engine.types import Policy, Profile, Responder

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5  # Adam's, with the epsilon usual for clipped surrogates


class Diverged(Halted):
    """A loss was not a finite number; the policies are as they were before it."""


class Decisions(NamedTuple):
    """N decisions of one policy: what it learns from."""

    rows: Tensor  # (N, ...) what it was shown, as it encodes it
    legal: Tensor | None  # (N, A) bool
    action: Tensor  # (N,) int64, or (N, D) of numbers
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


@compiled
def _adam(vector, gradient, mean, square, shrink, step, spread):
    """Algorithm 1 of Adam in one pass; `shrink` clips the gradient, `step` and `spread` hold its corrections."""
    keep_1, keep_2, epsilon = np.float32(BETA_1), np.float32(BETA_2), np.float32(EPSILON)
    take_1, take_2 = np.float32(1 - BETA_1), np.float32(1 - BETA_2)
    for each in range(vector.size):
        slope = shrink * gradient[each]
        mean[each] = keep_1 * mean[each] + take_1 * slope
        square[each] = keep_2 * square[each] + take_2 * slope * slope
        vector[each] -= step * mean[each] / (spread * np.sqrt(square[each]) + epsilon)


class Descent:
    """The parameters of one module as one vector, moved by Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Written out because torch.optim loads torch's compiler, over a second before the first step.
    """

    def __init__(self, module: nn.Module):
        self.vector, self.gradient = flattened(module)
        self.steps = 0
        self.mean, self.square = torch.zeros_like(self.vector.data), torch.zeros_like(self.vector.data)

    def step(self, loss: Tensor | Iterable[Tensor], learning_rate: float, norm: float) -> None:
        """One step down a loss, or down the sum of several, one in memory at a time.

        Raises Diverged, and changes nothing, when its gradient is not finite.
        """
        gradient = self.gradient.zero_()
        for part in [loss] if isinstance(loss, Tensor) else loss:
            part.backward()
        length = gradient.norm().item()
        if not math.isfinite(length):
            raise Diverged("the loss is not finite; try a smaller responder.learning_rate or another seed")
        self.steps += 1
        shrink = min(1.0, norm / (length + 1e-6))
        step, spread = learning_rate / (1 - BETA_1**self.steps), (1 - BETA_2**self.steps) ** -0.5
        if gradient.is_cuda:
            gradient.mul_(shrink)
            self.mean.lerp_(gradient, 1 - BETA_1)
            self.square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            self.vector.data.addcdiv_(self.mean, self.square.sqrt().mul_(spread).add_(EPSILON), value=-step)
        else:
            arrays = (each.numpy() for each in (self.vector.data, gradient, self.mean, self.square))
            _adam(*arrays, *map(np.float32, (shrink, step, spread)))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"steps": self.steps, "mean": self.mean, "square": self.square}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.steps = state["steps"]
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])


def momenta(responder: Responder, profile: Profile) -> list[tuple[Descent, dict[str, Any]]]:
    """How a responder by gradient goes down for each policy, and copies of its momenta; nothing for another one."""
    descents = responder.descents_of(profile) if hasattr(responder, "descents_of") else []
    return [(descent, deepcopy(descent.state())) for descent in descents]


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
