"""Distributions over actions that are sampled by noise handed in, so that the same noise is the same play."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Categorical:
    """N distributions over A actions, from logits (N, A); illegal actions have probability zero."""

    def __init__(self, logits: Tensor, legal: Tensor | None = None):
        if legal is not None:
            logits = logits.masked_fill(~legal, -torch.inf)
        self.log_probs = F.log_softmax(logits, dim=-1)  # (N, A)
        self.legal = legal

    def sample(self, noise: Tensor) -> Tensor:
        """Actions (N,) by inverting the cumulative distribution at noise (N,) in [0, 1)."""
        cumulative = self.log_probs.exp().cumsum(-1)
        return (cumulative <= noise[:, None] * cumulative[:, -1:]).sum(-1)

    def mode(self) -> Tensor:
        """The most probable actions (N,)."""
        return self.log_probs.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(action), (N,)."""
        return self.log_probs.gather(-1, actions[:, None])[:, 0]

    def entropy(self) -> Tensor:
        """-sum_a pi(a) log pi(a), (N,), in nats."""
        return -self._expected(self.log_probs)

    def kl(self, other: "Categorical") -> Tensor:
        """sum_a pi(a) (log pi(a) - log other(a)), (N,), in nats."""
        return self._expected(self.log_probs - other.log_probs)

    def _expected(self, what: Tensor) -> Tensor:
        """sum_a pi(a) what(a), (N,); an illegal action counts nothing even where `what` is infinite."""
        weighted = self.log_probs.exp() * what
        return (weighted if self.legal is None else weighted.masked_fill(~self.legal, 0)).sum(-1)
