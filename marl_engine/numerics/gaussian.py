"""Distributions over actions that are D numbers: diagonal Gaussians, plain or pressed into a box by tanh."""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALF_STEP = 2.0**-24  # of uniform numbers: moves them off 0, where a Gaussian would be infinitely far out
INSIDE = 1 - 2.0**-20  # how near to the edge of its box an action is taken to be
NODES = 32  # of the quadrature of an entropy


def standard_normal(noise: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones in [0, 1), by inverting the cumulative distribution."""
    return torch.special.ndtri(noise.double() + HALF_STEP).to(noise.dtype)


class Gaussian:
    """N distributions over D independent numbers, from means (N, D) and logs of standard deviations (N, D) or (D,)."""

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean, self.log_std = mean, log_std.expand_as(mean)

    @torch.no_grad()
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (N, D) and their log-densities (N,), by noise (N, D) in [0, 1); no gradient."""
        action = self.reached(standard_normal(noise))
        return action, self.log_prob(action)

    def reached(self, normal: Tensor) -> Tensor:
        """mean + std * normal, (N, D), with a gradient."""
        return self.mean + self.log_std.exp() * normal

    def mode(self) -> Tensor:
        """The means (N, D)."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """-sum_d [z_d^2 / 2 + log std_d + log(2 pi) / 2], z = (action - mean) / std, (N,)."""
        off = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * off**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """sum_d [log std_d + log(2 pi e) / 2], (N,), in nats."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        """sum_d [log(std' / std) + (std^2 + (mean - mean')^2) / (2 std'^2) - 1/2], ' the other's, (N,), in nats."""
        moved = self.log_std - other.log_std
        off = (self.mean - other.mean) * (-other.log_std).exp()
        return (0.5 * ((2 * moved).exp() + off**2 - 1) - moved).sum(-1)


class Squashed:
    """N distributions over the box centre ± half (D,): centre + half * tanh(u), u from a Gaussian."""

    def __init__(self, inner: Gaussian, centre: Tensor, half: Tensor):
        self.inner, self.centre, self.half = inner, centre, half

    @torch.no_grad()
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (N, D) and their log-densities (N,), by noise (N, D) in [0, 1); no gradient."""
        action = self.squash(self.inner.reached(standard_normal(noise)))
        return action, self.log_prob(action)

    def squash(self, inner: Tensor) -> Tensor:
        """centre + half * tanh(u) of u (N, D)."""
        return self.centre + self.half * inner.tanh()

    def mode(self) -> Tensor:
        """The squashed means (N, D); a median, and the most probable before squashing."""
        return self.squash(self.inner.mean)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-densities (N,) of actions (N, D); at the edge, that of a point just inside."""
        inside = ((actions - self.centre) / self.half).clamp(-INSIDE, INSIDE)
        return self.log_prob_of(inside.atanh())

    def log_prob_of(self, inner: Tensor) -> Tensor:
        """log pi(squash(u)) = log N(u) - sum_d log d squash_d / du_d, (N,), of u (N, D): exact at the edge too."""
        return self.inner.log_prob(inner) - self._stretch(inner).sum(-1)

    def _stretch(self, inner: Tensor) -> Tensor:
        """log [half (1 - tanh(u)^2)] = log half + 2 (log 2 - u - softplus(-2 u))."""
        return self.half.log() + 2 * (math.log(2) - inner - F.softplus(-2 * inner))

    def entropy(self) -> Tensor:
        """That of the Gaussian and the mean of what squashing adds, (N,), in nats; by Gauss-Hermite quadrature."""
        nodes, weights = (each.to(self.half) for each in gauss_hermite_nodes())
        inner = self.inner.mean[..., None] + self.inner.log_std.exp()[..., None] * nodes  # (N, D, nodes)
        added = self._stretch(inner.mT).mT @ weights
        return self.inner.entropy() + added.sum(-1)

    def kl(self, other: "Squashed") -> Tensor:
        """That of the Gaussians, (N,): squashing loses nothing. Both must have the same box."""
        return self.inner.kl(other.inner)


@cache
def gauss_hermite_nodes() -> tuple[Tensor, Tensor]:
    """Nodes and weights of the mean over a standard normal number."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
