"""Distributions over actions that consist of several independent choices, such as where to go and what to say."""

from collections.abc import Sequence

import torch
from torch import Tensor

from marl_engine.numerics.distributions.categorical import Categorical


class Factored:
    """N distributions over K independent choices, the k-th one of `branches[k]` actions.

    Logits and legal actions are (N, A) with A = sum(branches), branch after branch. A log-probability is the sum of
    those of the choices, and so are entropies and KL divergences.
    """

    log_probs = None

    def __init__(self, logits: Tensor, branches: Sequence[int], legal: Tensor | None = None):
        logits_of = logits.split(list(branches), dim=-1)
        legal_of = [None] * len(branches) if legal is None else legal.split(list(branches), dim=-1)
        self.choices = [Categorical(each.contiguous(), mask) for each, mask in zip(logits_of, legal_of, strict=True)]

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N, K) and their log-probabilities (N,) for uniform numbers `noise` (N, K) in [0, 1).

        No gradient.
        """
        sampled = [each.sample(noise[:, place].contiguous()) for place, each in enumerate(self.choices)]
        actions, log_probs = zip(*sampled, strict=True)
        return torch.stack(actions, dim=-1), sum_terms(log_probs)

    def mode(self) -> Tensor:
        """Returns the most probable actions (N, K)."""
        return torch.stack([each.mode() for each in self.choices], dim=-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log pi(actions) = sum_k log pi_k(actions[:, k]), (N,), for actions (N, K)."""
        return sum_terms([each.log_prob(actions[:, place]) for place, each in enumerate(self.choices)])

    def entropy(self) -> Tensor:
        """Returns the entropies (N,), in nats."""
        return sum_terms([each.entropy() for each in self.choices])

    def kl(self, other: "Factored") -> Tensor:
        """Returns KL(self || other), (N,), in nats."""
        return sum_terms([each.kl(its) for each, its in zip(self.choices, other.choices, strict=True)])


def sum_terms(terms: Sequence[Tensor]) -> Tensor:
    """Returns the sum of tensors (N,)."""
    return torch.stack(list(terms)).sum(0)


def discrete(logits: Tensor, legal: Tensor | None, branches: Sequence[int]) -> "Categorical | Factored":
    """Returns the distributions of logits (N, A): over A actions, or factored if there are branches."""
    return Factored(logits, branches, legal) if branches else Categorical(logits, legal)
