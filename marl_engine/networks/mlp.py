"""A multi-layer perceptron over bytes, with its gradient written out.

Small networks spend their time on calling operations, not in them: this one makes 15 calls where autograd
makes 60, and its first layer works on lists of differences (see `sparse`).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from marl_engine.networks.sparse_input import row_entry, sparse_differences, sparse_matmul, sparse_matmul_transposed

ACTIVATIONS = ("tanh", "relu")


def activate_(hidden: Tensor, activation: str) -> Tensor:
    """tanh or relu, in place."""
    return hidden.tanh_() if activation == "tanh" else hidden.relu_()


def activation_gradient(gradient: Tensor, hidden: Tensor, activation: str) -> Tensor:
    """The gradient before an activation, from the one behind it and what it put out."""
    if activation == "tanh":
        return torch.ops.aten.tanh_backward(gradient, hidden)
    return torch.ops.aten.threshold_backward(gradient, hidden, 0)


class _Layers(torch.autograd.Function):
    """Observations, as lists or dense, through alternating layers and activations; the last has none."""

    @staticmethod
    def forward(ctx, activation, background, rows, *parameters):
        weights, biases = parameters[::2], parameters[1::2]
        if rows.dtype == torch.int32:
            hidden = sparse_matmul(rows, background, weights[0], biases[0])
        else:
            hidden = torch.addmm(biases[0], rows.to(weights[0].dtype), weights[0])
        outputs = []
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            outputs.append(activate_(hidden, activation))
            hidden = torch.addmm(bias, hidden, weight)
        ctx.activation, ctx.background, ctx.rows = activation, background, rows
        ctx.save_for_backward(*weights, *outputs)
        return hidden

    @staticmethod
    def backward(ctx, gradient):
        depth = (len(ctx.saved_tensors) + 1) // 2
        weights, outputs = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
        found = []
        for weight, hidden in zip(reversed(weights[1:]), reversed(outputs), strict=True):
            found += [gradient.sum(0), hidden.T @ gradient]
            gradient = activation_gradient(gradient @ weight.T, hidden, ctx.activation)
        if ctx.rows.dtype == torch.int32:
            first = sparse_matmul_transposed(ctx.rows, ctx.background, gradient)
        else:
            first = ctx.rows.to(gradient.dtype).T @ gradient
        found += [gradient.sum(0), first]
        return None, None, None, *reversed(found)


class MLP(nn.Module):
    """Observations (N, …) of D features, and seats (N,) if it tells them apart, to (N, outputs).

    Weights are orthogonal at first, with gain sqrt 2, the last with `gain`. On the processor, bytes are
    fast where they are near `background` (…) uint8. With `shown` (I + 1, D) observations are numbers of its rows;
    the last, which -1 stands for, is what nobody sees.
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
    ):
        super().__init__()
        self.seats, self.activation = seats, activation
        self.register_buffer("shown", shown, persistent=False)
        nothing = torch.zeros(seats, dtype=background.dtype)
        self.register_buffer("background", torch.cat([background.flatten(), nothing]))
        sizes = [self.background.numel(), *hidden, outputs]
        gains = [2**0.5] * len(hidden) + [gain]
        self.weights = nn.ParameterList(
            nn.init.orthogonal_(torch.empty(wide, narrow), size)
            for (wide, narrow), size in zip(pairwise(sizes), gains, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(narrow) for narrow in sizes[1:])

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Rows (N, K) int32 as lists of differences, or (N, D + seats) where these are not bytes on the processor."""
        rows = observation.flatten(1)
        if self.shown is not None:
            rows = self.shown[rows.long().where(rows >= 0, len(self.shown) - 1)].flatten(1)
        features = rows.shape[1]
        if rows.dtype == torch.uint8 and not rows.is_cuda:
            lists = sparse_differences(rows, self.background[:features])
            return torch.cat([row_entry(features + seat, 1)[:, None], lists], dim=1) if self.seats else lists
        if rows.dtype != torch.uint8:
            rows = rows.float()  # int32 would be taken for lists
        if self.seats:
            told = torch.arange(self.seats, device=seat.device) == seat[:, None]
            rows = torch.cat([rows, told.to(rows.dtype)], dim=1)
        return rows

    def forward(self, rows: Tensor) -> Tensor:
        """What `encode` returned -> (N, outputs)."""
        parameters = [each for pair in zip(self.weights, self.biases, strict=True) for each in pair]
        return _Layers.apply(self.activation, self.background, rows, *parameters)
