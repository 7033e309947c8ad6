"""A linear layer for observations of bytes that are nearly all alike.

Of Overcooked's 520 to 1170 features some 10 differ from the empty kitchen, so the first layer, which holds
nine tenths of a small network's arithmetic, is a sum of ten rows of its weight:

    W x = W x0 + W (x - x0),    x0 what all observations share, x - x0 mostly zero.

On one core this is 10 times as fast as the dense product, gradients included (benchmarks/first_layer.py).
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from marl_engine.cores import over_rows

ROWS = 512  # fewer are not worth handing to another core
BLOCK = 16  # bytes compared at once
END = -1  # closes a list that is shorter than the longest


@njit(cache=True, nogil=True, _nrt=False)
def _find(observation, background, first, last, lists):
    """Lists where rows `first` to `last` differ from the background; returns the length of the longest list."""
    width = observation.shape[1]
    longest = 0
    for row in range(first, last):
        count = 0
        for start in range(0, width, BLOCK):
            stop = min(start + BLOCK, width)
            differs = np.uint8(0)
            for feature in range(start, stop):
                differs |= observation[row, feature] ^ background[feature]
            if differs:
                for feature in range(start, stop):
                    if observation[row, feature] != background[feature]:
                        lists[row, count] = feature << 8 | observation[row, feature]
                        count += 1
        if count < width:
            lists[row, count] = END
        longest = max(longest, count)
    return longest


@njit(cache=True, nogil=True, _nrt=False, fastmath=True)
def _multiply(lists, background, weight, base, first, last, out):
    """out[r] = base + sum over the list of row r of (value - background) * weight[feature]."""
    for row in range(first, last):
        for unit in range(weight.shape[1]):
            out[row, unit] = base[unit]
        for place in range(lists.shape[1]):
            entry = lists[row, place]
            if entry == END:
                break
            feature = entry >> 8
            amount = np.float32(entry & 255) - np.float32(background[feature])
            for unit in range(weight.shape[1]):
                out[row, unit] += amount * weight[feature, unit]


@njit(cache=True, nogil=True, _nrt=False, fastmath=True)
def _accumulate(lists, background, gradient, first, last, out):
    """out[feature] += (value - background) * gradient[r] over the lists of all rows: the transposed product."""
    for row in range(first, last):
        for place in range(lists.shape[1]):
            entry = lists[row, place]
            if entry == END:
                break
            feature = entry >> 8
            amount = np.float32(entry & 255) - np.float32(background[feature])
            for unit in range(out.shape[1]):
                out[feature, unit] += amount * gradient[row, unit]


class _Product(torch.autograd.Function):
    """lists (N, K) int32, weight (D, H), bias (H,), background (D,) uint8 -> (N, H)."""

    @staticmethod
    def forward(ctx, lists, weight, bias, background):
        base = (background.float() @ weight + bias).numpy()
        out = torch.empty(len(lists), weight.shape[1])
        arrays = lists.numpy(), background.numpy(), weight.numpy(), base
        over_rows(lambda _, first, last: _multiply(*arrays, first, last, out.numpy()), len(lists), ROWS)
        ctx.lists, ctx.background, ctx.shape = lists, background, weight.shape
        return out

    @staticmethod
    def backward(ctx, gradient):
        sums = torch.zeros(torch.get_num_threads(), *ctx.shape)
        arrays = ctx.lists.numpy(), ctx.background.numpy(), gradient.contiguous().numpy()
        shares = over_rows(
            lambda share, first, last: _accumulate(*arrays, first, last, sums[share].numpy()), len(gradient), ROWS
        )
        total = gradient.sum(0)
        weight = sums[0] if shares == 1 else sums[:shares].sum(0)
        return None, weight.addr_(ctx.background.float(), total), total, None


class SparseLinear(nn.Module):
    """Like nn.Linear(D, H) on flattened observations (N, …); exact, and fast where they are bytes near `background`."""

    def __init__(self, background: Tensor, units: int):
        super().__init__()
        self.register_buffer("background", background.flatten())
        self.weight = nn.Parameter(torch.empty(background.numel(), units))
        self.bias = nn.Parameter(torch.zeros(units))

    def lists(self, observation: Tensor) -> Tensor:
        """Where bytes (N, …) differ from the background: (N, K) int32 of feature * 256 + value, closed by -1.

        What is not bytes on the processor is returned flattened, and takes the dense product.
        """
        rows = observation.flatten(1)
        if rows.dtype != torch.uint8 or rows.is_cuda:
            return rows
        rows = rows.contiguous()
        lists = np.empty(rows.shape, np.int32)
        longest = [0] * torch.get_num_threads()

        def work(share: int, first: int, last: int) -> None:
            longest[share] = _find(rows.numpy(), self.background.numpy(), first, last, lists)

        over_rows(work, len(rows), ROWS)
        return torch.from_numpy(lists[:, : max(longest)].copy())

    def forward(self, observation: Tensor) -> Tensor:
        """Observations (N, …) of D features, or what `lists` made of them -> (N, H)."""
        rows = observation if observation.dtype == torch.int32 else self.lists(observation)
        if rows.dtype == torch.int32:
            return _Product.apply(rows, self.weight, self.bias, self.background)
        return rows.to(self.weight.dtype) @ self.weight + self.bias
