"""Running statistics of observations and of values, and critics that learn normalised values.

A critic that is trained on normalised targets learns at the same rate whatever the scale of payoffs. When the
statistics change, so do the values of the critic, unless its output layer is rescaled: PopArt (van Hasselt et al. 2016,
arXiv:1602.07714, section 2.2). Without rescaling it is the value normalisation of MAPPO (Yu et al. 2022,
arXiv:2103.01955, section 5.1), whose code updates the statistics in every minibatch, not once for each rollout.
"""

from typing import Any

import torch
from torch import Tensor, nn

LIMIT = 10.0  # largest absolute value of a normalised observation
LEAST_VALUE_STD = 1e-2  # smaller standard deviations of values count as this one
LEAST_FEATURE_STD = 1e-4


class RunningMoments(nn.Module):
    """Mean and variance of rows (N, …), by element, in which the weight of old rows falls by `decay` in each update.

    With a decay of 1 they are those of all rows together (Chan et al. 1983, The American Statistician 37:242). Before
    the first update the mean is 0 and the variance 1. Standard deviations are at least `least`.
    """

    weight: Tensor  # of all rows so far
    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...], *, decay: float, least: float):
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))

    @property
    def std(self) -> Tensor:
        """Standard deviations (…) float64."""
        return self.variance.clamp(min=self.least**2).sqrt()

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Takes rows (N, …) of any type into account."""
        if not len(rows):
            return
        old, new, rows = self.decay * self.weight, len(rows), rows.double()
        share = new / (old + new)
        shift = rows.mean(0) - self.mean
        within = torch.lerp(self.variance, rows.var(0, unbiased=False), share)
        self.variance.copy_(within + share * (1 - share) * shift**2)
        self.mean.add_(share * shift)
        self.weight.copy_(old + new)


class InputNormaliser(nn.Module):
    """Normalises features by the statistics of all observations that have been learned from."""

    def __init__(self, features: int):
        super().__init__()
        self.moments = RunningMoments((features,), decay=1.0, least=LEAST_FEATURE_STD)
        self.rounded: tuple[tuple[int, int, int], Tensor, Tensor] | None = None  # version of the moments, mean, std

    def round_moments(self) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation (D,) float32, computed anew only if the moments have changed.

        A change in place raises the version of a tensor.
        """
        mean, variance = self.moments.mean, self.moments.variance
        version = id(mean), mean._version, variance._version
        if self.rounded is None or self.rounded[0] != version:
            self.rounded = version, mean.float(), self.moments.std.float()
        return self.rounded[1:]

    def forward(self, rows: Tensor) -> Tensor:
        """Returns (x - mean) / std, cut off at ±LIMIT, for rows (N, D or more); columns after the D-th stay."""
        mean, std = self.round_moments()
        features, others = rows[:, : len(mean)].float(), rows[:, len(mean) :]
        scaled = ((features - mean) / std).clamp_(-LIMIT, LIMIT)
        return torch.cat([scaled, others.float()], dim=1) if others.shape[1] else scaled

    def observe(self, rows: Tensor) -> None:
        """Takes the first D columns of rows (N, D or more) into account."""
        self.moments.update(rows[:, : len(self.moments.mean)])


class NormalisedCritic(nn.Module):
    """A critic whose values are mean + std * network(rows), with the statistics of its targets so far.

    With `preserve` (PopArt), `renormalise` leaves its values as they are: the output layer (W, b) of the network, which
    `output_layer` names, becomes W std / std', (std b + mean - mean') / std'.
    """

    def __init__(self, network: Any, *, preserve: bool, decay: float):
        super().__init__()
        self.network, self.preserve = network, preserve
        self.moments = RunningMoments((), decay=decay, least=LEAST_VALUE_STD)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """See `Policy.encode`."""
        return self.network.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        """See `Policy.observe`."""
        self.network.observe(rows)

    def initial_memory(self, count: int) -> Any:
        """See `Policy.initial_memory`."""
        return self.network.initial_memory(count)

    def forward(self, rows: Tensor, *memory: Any) -> Any:
        """Returns values (N, 1) for rows (N, …), with the new memory if one is given."""
        if not memory:
            return self._expand(self.network(rows))
        value, after = self.network(rows, *memory)
        return self._expand(value), after

    def unroll(self, rows: Tensor, memory: Any, opens: Tensor, acting: Tensor) -> tuple[Tensor, Any]:
        """Returns values (T, N, 1) and memories; see `RecurrentNetwork.unroll`."""
        value, memories = self.network.unroll(rows, memory, opens, acting)
        return self._expand(value), memories

    @torch.no_grad()
    def renormalise(self, target: Tensor, value: Tensor) -> Tensor:
        """Takes targets (N,) into account; returns values (…), computed before, as they are computed now."""
        mean, std = self.moments.mean.clone(), self.moments.std
        self.moments.update(target)
        if not self.preserve:
            return self._expand((value - mean) / std)
        weight, bias = self.network.output_layer()
        weight.mul_(std / self.moments.std)
        bias.copy_((std * bias + mean - self.moments.mean) / self.moments.std)
        return value

    def _expand(self, value: Tensor) -> Tensor:
        """Returns mean + std * value."""
        return value * self.moments.std + self.moments.mean
