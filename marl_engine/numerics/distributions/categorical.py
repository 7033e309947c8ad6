"""Categorical distributions over actions, sampled from uniform numbers that the caller passes: equal numbers give
equal actions.
"""

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.numerics.jit import compile_inline, compile_loop

WIDE = 1024  # actions from which vectorised operations are faster


@compile_inline
def log_sum(logits, row):
    """Returns log sum_a exp(logits[row, a])."""
    highest = logits[row, 0]
    for each in range(1, logits.shape[1]):
        highest = max(highest, logits[row, each])
    total = np.float32(0)
    for each in range(logits.shape[1]):
        total += np.exp(logits[row, each] - highest)
    return highest + np.log(total)


@compile_inline
def take_share(left, chosen, share, action):
    """Takes one step of inverting a cumulative distribution; returns the remaining noise and the last possible action.

    That action is sampled once the remainder is negative, or at the end if rounding leaves a remainder.
    """
    if (left >= 0) & (share > 0):
        chosen = action
    return left - share, chosen


@compile_loop
def _draw(logits, noise, action, log_prob):
    """Samples actions by inverting the cumulative distribution; returns log-probabilities, too."""
    for row in range(noise.size):
        total, left, chosen = log_sum(logits, row), noise[row], 0
        for each in range(logits.shape[1]):
            left, chosen = take_share(left, chosen, np.exp(logits[row, each] - total), each)
            if left < 0:
                break
        action[row], log_prob[row] = chosen, logits[row, chosen] - total


@compile_loop
def normalise(logits, shares, log_probs):
    """Writes probabilities and log-probabilities, (N, A) each, of logits (N, A), as `_draw` computes them."""
    for row in range(logits.shape[0]):
        total = log_sum(logits, row)
        for each in range(logits.shape[1]):
            shares[row, each] = np.exp(logits[row, each] - total)
            log_probs[row, each] = logits[row, each] - total


class Categorical:
    """N distributions over A actions with logits (N, A). Illegal actions have probability zero."""

    def __init__(self, logits: Tensor, legal: Tensor | None = None):
        self.logits = logits if legal is None else logits.masked_fill(~legal, -torch.inf)
        self.legal = legal

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities of all actions, (N, A)."""
        return F.log_softmax(self.logits, dim=-1)

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N,) and their log-probabilities (N,) for uniform numbers `noise` (N,) in [0, 1).

        No gradient.
        """
        if noise.is_cuda or self.logits.shape[-1] > WIDE:
            return self._sample_vectorised(noise)
        action, log_prob = torch.empty(len(noise), dtype=torch.int64), torch.empty(len(noise))
        _draw(self.logits.detach().numpy(), noise.contiguous().numpy(), action.numpy(), log_prob.numpy())
        return action, log_prob

    @torch.no_grad()
    def _sample_vectorised(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Does the same as `sample` with vectorised operations: faster on a GPU and for large vocabularies."""
        highest = self.logits.amax(-1, keepdim=True)
        cumulative = (self.logits - highest).exp_().cumsum(-1)
        total = cumulative[:, -1:].clone()
        action = torch.searchsorted(cumulative, noise[:, None] * total, right=True)
        action.clamp_(max=self.logits.shape[-1] - 1)
        return action[:, 0], (self.logits.gather(-1, action) - highest - total.log())[:, 0]

    def mode(self) -> Tensor:
        """Returns the most probable actions (N,)."""
        return self.logits.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log pi(action), (N,)."""
        return self.log_probs.gather(-1, actions[:, None])[:, 0]

    def entropy(self) -> Tensor:
        """Returns -sum_a pi(a) log pi(a), (N,), in nats."""
        return -self._mean(self.log_probs)

    def kl(self, other: "Categorical") -> Tensor:
        """Returns KL(self || other) = sum_a pi(a) (log pi(a) - log other(a)), (N,), in nats."""
        return self._mean(self.log_probs - other.log_probs)

    def _mean(self, what: Tensor) -> Tensor:
        """Returns sum_a pi(a) what(a), (N,). Illegal actions contribute nothing even where `what` is infinite."""
        finite = what if self.legal is None else what.masked_fill(~self.legal, 0)
        return (self.log_probs.exp() * finite).sum(-1)
