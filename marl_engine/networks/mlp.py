"""A multi-layer perceptron. On the CPU its first layer multiplies sparse lists, if observations are bytes that are not
normalised; see `sparse_input`.

Observations that are numbers of information sets are evaluated once for each different one in a batch.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from marl_engine.networks.normalisation import InputNormaliser
from marl_engine.networks.sparse_input import row_entry, sparse_differences, sparse_matmul, sparse_matmul_transposed

ACTIVATIONS = ("tanh", "relu")


def activate_(hidden: Tensor, activation: str) -> Tensor:
    """Applies tanh or relu in place."""
    return hidden.tanh_() if activation == "tanh" else hidden.relu_()


class _SparseLinear(torch.autograd.Function):
    """Maps sparse lists (N, K) int32, a background (D,), weight (D, H) and bias (H,) to x W + b, (N, H)."""

    @staticmethod
    def forward(ctx, rows, background, weight, bias):
        ctx.rows, ctx.background = rows, background
        return sparse_matmul(rows, background, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        return None, None, sparse_matmul_transposed(ctx.rows, ctx.background, gradient), gradient.sum(0)


def layers_of(weights: nn.ParameterList, biases: nn.ParameterList) -> Iterator[tuple[Tensor, Tensor]]:
    """Returns weight (…, in, out) and bias (…, out) of each layer.

    Iterating over a ParameterList itself takes 2 us for each parameter.
    """
    return zip(weights._parameters.values(), biases._parameters.values(), strict=True)  # type: ignore[arg-type]


def append_seat(rows: Tensor, seat: Tensor, seats: int) -> Tensor:
    """Returns rows (N, D) with their seats (N,) one-hot after them: (N, D + seats) of the same type."""
    if not seats:
        return rows
    indicator = torch.arange(seats, device=seat.device) == seat[:, None]
    return torch.cat([rows, indicator.to(rows.dtype)], dim=1)


class MLP(nn.Module):
    """Maps observations (N, …) with D features, and seats (N,) if `seats` > 0, to outputs (N, outputs).

    Weights are initialised orthogonally with gain sqrt 2, those of the last layer with `gain`. On the CPU, byte
    observations are fast if they are close to `background` (…) uint8. If `shown` (I + 1, D) is given, observations are
    indices of its rows; index -1 selects the last row, the observation of a seat that sees nothing. Rows for `forward`
    are then keys (N, 1) int64, one for each pair of index and seat, if observations have one index each. With
    `normalise` features are normalised by the statistics of those in `observe`, and rows are never sparse.
    """

    background: Tensor
    shown: Tensor | None

    def __init__(
        self,
        background: Tensor,
        hidden: Sequence[int],
        outputs: int,
        *,
        seats: int,
        activation: str,
        gain: float,
        shown: Tensor | None = None,
        normalise: bool = False,
    ):
        super().__init__()
        self.normaliser = InputNormaliser(background.numel()) if normalise else None
        self.seats, self.activation, self.outputs = seats, activation, outputs
        self.register_buffer("shown", shown, persistent=False)
        no_seat = torch.zeros(seats, dtype=background.dtype)
        self.register_buffer("background", torch.cat([background.flatten(), no_seat]))
        sizes = [self.background.numel(), *hidden, outputs]
        gains = [2**0.5] * len(hidden) + [gain]
        self.weights = nn.ParameterList(
            nn.init.orthogonal_(torch.empty(wide, narrow), size)
            for (wide, narrow), size in zip(pairwise(sizes), gains, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(narrow) for narrow in sizes[1:])

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows for `forward`: sparse lists (N, K) int32 for bytes on the CPU, keys (N, 1) int64 for indices,
        dense rows (N, D + seats) otherwise.
        """
        rows = observation.flatten(1)
        if self.shown is not None:
            index = rows.long().where(rows >= 0, len(self.shown) - 1)
            if rows.shape[1] == 1:
                return index * self.seats + seat[:, None] if self.seats else index
            rows = self.shown[index].flatten(1)
        features = rows.shape[1]
        if rows.dtype == torch.uint8 and not rows.is_cuda and self.normaliser is None:
            lists = sparse_differences(rows, self.background[:features])
            return torch.cat([row_entry(features + seat, 1)[:, None], lists], dim=1) if self.seats else lists
        if rows.dtype != torch.uint8:
            rows = rows.float()  # int32 marks sparse lists
        return append_seat(rows, seat, self.seats)

    def _features(self, keys: Tensor) -> Tensor:
        """The dense rows (N, D + seats) of keys (N,)."""
        assert self.shown is not None
        several = max(1, self.seats)
        return append_seat(self.shown[keys // several].float(), keys % several, self.seats)

    def forward(self, rows: Tensor) -> Tensor:
        """Maps rows from `encode` to outputs (N, outputs)."""
        if rows.dtype == torch.int64:
            present = torch.bincount(rows[:, 0]) > 0
            keys = present.nonzero()[:, 0]
            return self(self._features(keys)).index_select(0, (present.cumsum(0) - 1)[rows[:, 0]])
        if self.normaliser is not None:
            rows = self.normaliser(rows)
        (weight, bias), *others = layers_of(self.weights, self.biases)
        if rows.dtype == torch.int32:
            hidden = _SparseLinear.apply(rows, self.background, weight, bias)
        else:
            hidden = torch.addmm(bias, rows.to(weight.dtype), weight)
        for weight, bias in others:
            hidden = torch.addmm(bias, activate_(hidden, self.activation), weight)
        return hidden

    def observe(self, rows: Tensor) -> None:
        """Takes rows from `encode` into the statistics by which features are normalised, if they are."""
        if self.normaliser is not None:
            self.normaliser.observe(self._features(rows[:, 0]) if rows.dtype == torch.int64 else rows)

    def output_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Returns weight and bias of the last layer."""
        return self.weights[-1], self.biases[-1]
