"""Matrix products with byte observations that are nearly constant.

Of the 520 to 1170 features of Overcooked some 10 differ from those of the empty kitchen. The first layer, nine tenths
of the arithmetic of a small network, is therefore computed as a sum of ten rows of its weight:

    x W = x0 W + (x - x0) W,    x0 a common background, x - x0 mostly zero.

Observations are converted once into lists of differences, which are used in all epochs: int32 (N, K) with entries
feature * 256 + value. Lists shorter than the longest one end with -1.
"""

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.threads import split_rows

ROWS = 512  # fewer are not worth a second core
BLOCK = 16  # bytes compared at once
ROOM = 32  # initial capacity of a list
END = -1  # ends a list that is shorter than the longest


@compile_loop
def _find(observation, background, first, last, lists):
    """Lists where rows `first` to `last` differ from the background; returns the length of the longest list.

    A list that does not fit is cut off; the returned length tells.
    """
    width, room = observation.shape[1], lists.shape[1]
    longest = 0
    for row in range(first, last):
        count = 0
        for start in range(0, width, BLOCK):
            differs = start + BLOCK > width  # an incomplete block is always searched
            if not differs:
                for place in range(BLOCK):
                    differs |= observation[row, start + place] != background[start + place]
            if differs:
                for feature in range(start, min(start + BLOCK, width)):
                    if observation[row, feature] != background[feature]:
                        if count < room:
                            lists[row, count] = feature << 8 | observation[row, feature]
                        count += 1
        if count < room:
            lists[row, count] = END
        longest = max(longest, count)
    return longest


@compile_inline
def _unpack(entry, background):
    """Returns the feature of an entry and its difference from the background."""
    feature = entry >> 8
    return feature, np.float32(entry & 255) - np.float32(background[feature])


@compile_loop
def _multiply(lists, background, weight, base, first, last, out):
    """out[r] = base + sum over the list of row r of (value - background) * weight[feature]."""
    for row in range(first, last):
        for unit in range(weight.shape[1]):
            out[row, unit] = base[unit]
        for place in range(lists.shape[1]):
            entry = lists[row, place]
            if entry == END:
                break
            feature, amount = _unpack(entry, background)
            for unit in range(weight.shape[1]):
                out[row, unit] += amount * weight[feature, unit]


@compile_loop
def _accumulate(lists, background, gradient, first, last, out):
    """out[feature] += (value - background) * gradient[r] over the lists of all rows: the transposed product."""
    for row in range(first, last):
        for place in range(lists.shape[1]):
            entry = lists[row, place]
            if entry == END:
                break
            feature, amount = _unpack(entry, background)
            for unit in range(out.shape[1]):
                out[feature, unit] += amount * gradient[row, unit]


def sparse_differences(observation: Tensor, background: Tensor) -> Tensor:
    """Returns lists (N, K) int32 of the differences between bytes (N, D) and the background (D,) uint8."""
    arrays = observation.contiguous().numpy(), background.numpy()
    longest = ROOM
    while True:
        lists = np.empty((len(observation), longest), np.int32)
        lengths = [0] * torch.get_num_threads()

        def work(share: int, first: int, last: int, lists: np.ndarray = lists, lengths: list[int] = lengths) -> None:
            lengths[share] = _find(*arrays, first, last, lists)

        split_rows(work, len(lists), ROWS)
        if max(lengths) <= longest:
            return torch.from_numpy(lists[:, : max(lengths)])
        longest = max(lengths)


def row_entry(feature: Tensor, value: int) -> Tensor:
    """Returns the list entries (N,) int32 of features (N,) with a given value."""
    return (feature << 8 | value).to(torch.int32)


def sparse_matmul(lists: Tensor, background: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns x W + b, (N, H), for observations x given as lists (N, K).

    The weight is (D, H), the bias (H,), the background (D,) uint8.
    """
    out = torch.empty(len(lists), weight.shape[1])
    base = torch.addmv(bias, weight.T, background.float())
    arrays = [each.numpy() for each in (lists, background, weight, base)]
    split_rows(lambda _, first, last: _multiply(*arrays, first, last, out.numpy()), len(lists), ROWS)
    return out


def sparse_matmul_transposed(lists: Tensor, background: Tensor, gradient: Tensor) -> Tensor:
    """Returns x^T g, (D, H), for observations x given as lists (N, K) and gradients g (N, H)."""
    sums = torch.zeros(torch.get_num_threads(), len(background), gradient.shape[1])
    arrays = [each.numpy() for each in (lists, background, gradient)]
    shares = split_rows(
        lambda share, first, last: _accumulate(*arrays, first, last, sums[share].numpy()), len(lists), ROWS
    )
    for share in range(1, shares):
        sums[0] += sums[share]
    return sums[0].addr_(background.float(), gradient.sum(0))
