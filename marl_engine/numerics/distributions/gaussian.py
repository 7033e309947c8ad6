"""Distributions over D continuous actions: diagonal Gaussians, with or without squashing into a box by tanh."""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALF_STEP = 2.0**-24  # added to uniform numbers, since 0 would give an infinite Gaussian
INSIDE = 1 - 2.0**-20  # largest assumed |tanh(u)| of an action
NODES = 32  # of the quadrature for entropies


def standard_normal(noise: Tensor) -> Tensor:
    """Converts uniform numbers in [0, 1) to standard normal numbers, by the inverse cumulative distribution."""
    return torch.special.ndtri(noise.double() + HALF_STEP).to(noise.dtype)


class Gaussian:
    """N distributions over D independent numbers with means (N, D) and log standard deviations (N, D) or (D,)."""

    log_probs = None

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean, self.log_std = mean, log_std.expand_as(mean)

    @torch.no_grad()
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N, D) and their log-densities (N,) for uniform numbers `noise` (N, D) in [0, 1).

        No gradient.
        """
        action = self.from_normal(standard_normal(noise))
        return action, self.log_prob(action)

    def from_normal(self, normal: Tensor) -> Tensor:
        """Returns mean + std * normal, (N, D), with gradient (the reparameterisation trick)."""
        return self.mean + self.log_std.exp() * normal

    def mode(self) -> Tensor:
        """Returns the means (N, D)."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns -sum_d [z_d^2 / 2 + log std_d + log(2 pi) / 2], z = (action - mean) / std, (N,)."""
        off = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * off**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Returns sum_d [log std_d + log(2 pi e) / 2], (N,), in nats."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        """Returns sum_d [log(std' / std) + (std^2 + (mean - mean')^2) / (2 std'^2) - 1/2], (N,), in nats.

        Symbols with ' belong to `other`.
        """
        log_ratio = self.log_std - other.log_std
        off = (self.mean - other.mean) * (-other.log_std).exp()
        return (0.5 * ((2 * log_ratio).exp() + off**2 - 1) - log_ratio).sum(-1)


class Squashed:
    """N distributions over the box centre ± half (D,).

    An action is centre + half * tanh(u), with u from a Gaussian.
    """

    log_probs = None

    def __init__(self, inner: Gaussian, centre: Tensor, half: Tensor):
        self.inner, self.centre, self.half = inner, centre, half

    @torch.no_grad()
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N, D) and their log-densities (N,) for uniform numbers `noise` (N, D) in [0, 1).

        No gradient.
        """
        action = self.squash(self.inner.from_normal(standard_normal(noise)))
        return action, self.log_prob(action)

    def squash(self, inner: Tensor) -> Tensor:
        """Returns centre + half * tanh(u) for u (N, D)."""
        return self.centre + self.half * inner.tanh()

    def mode(self) -> Tensor:
        """Returns the squashed means (N, D). They are the medians, and the squashed modes of the Gaussian."""
        return self.squash(self.inner.mean)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log-densities (N,) of actions (N, D).

        An action on the edge of the box is moved slightly inside.
        """
        inside = ((actions - self.centre) / self.half).clamp(-INSIDE, INSIDE)
        return self.log_prob_of(inside.atanh())

    def log_prob_of(self, inner: Tensor) -> Tensor:
        """Returns log pi(squash(u)) = log N(u) - sum_d log d squash_d / du_d, (N,), for u (N, D).

        Exact on the edge, too.
        """
        return self.inner.log_prob(inner) - self._stretch(inner).sum(-1)

    def _stretch(self, inner: Tensor) -> Tensor:
        """Returns log [half (1 - tanh(u)^2)] = log half + 2 (log 2 - u - softplus(-2 u))."""
        return self.half.log() + 2 * (math.log(2) - inner - F.softplus(-2 * inner))

    def entropy(self) -> Tensor:
        """Returns the entropy (N,) in nats.

        It is that of the Gaussian plus the mean log-derivative of squashing, by Gauss-Hermite quadrature.
        """
        nodes, weights = (each.to(self.half) for each in gauss_hermite_nodes())
        inner = self.inner.mean[..., None] + self.inner.log_std.exp()[..., None] * nodes  # (N, D, nodes)
        added = self._stretch(inner.mT).mT @ weights
        return self.inner.entropy() + added.sum(-1)

    def kl(self, other: "Squashed") -> Tensor:
        """Returns KL(self || other), (N,): that of the Gaussians, since squashing is invertible.

        Both must have the same box.
        """
        return self.inner.kl(other.inner)


@cache
def gauss_hermite_nodes() -> tuple[Tensor, Tensor]:
    """Returns nodes and weights for expectations over a standard normal number."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
