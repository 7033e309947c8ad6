"""Counter-based random numbers: functions of a seed and a position, so that no result depends on the order of draws.

SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) is used as a hash of seed, turn and seat.
"""

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_inline

GOLDEN = -0x61C8864680B583EB  # 2**64 / golden ratio, as a signed number
MIX_1 = -0x40A7B892E31B1A47
MIX_2 = -0x6B2FB644ECCEEE15
BITS = 23  # of a uniform number, all exact in float32; (1 - 2**-23) * x stays below x
WORD_GOLDEN, WORD_MIX_1, WORD_MIX_2 = (np.uint64(each % 2**64) for each in (GOLDEN, MIX_1, MIX_2))
SHIFT_27, SHIFT_30, SHIFT_31, SHIFT_41 = (np.uint64(each) for each in (27, 30, 31, 64 - BITS))


def _right(number: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def mix_bits(number: Tensor) -> Tensor:
    """The finaliser of SplitMix64, on int64 of any shape."""
    number = (number ^ _right(number, 30)) * MIX_1
    number = (number ^ _right(number, 27)) * MIX_2
    return number ^ _right(number, 31)


def to_unit_interval(number: Tensor) -> Tensor:
    """Converts mixed bits to float32 numbers in [0, 1)."""
    return _right(number, 64 - BITS).float() * 2.0**-BITS


def derive_seeds(seed: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Derives `count` seeds (count,) int64 from one seed."""
    return mix_bits(mix_bits(torch.tensor(seed, device=device)) + GOLDEN * torch.arange(1, count + 1, device=device))


def draw_uniforms(seeds: Tensor, first: int, turns: int, players: int) -> Tensor:
    """Returns uniform numbers (turns, B, players) float32 in [0, 1) of games with seeds (B,), from turn `first`
    on.
    """
    place = torch.arange(first * players, (first + turns) * players, device=seeds.device).view(turns, 1, players)
    return to_unit_interval(mix_bits(seeds[:, None] + GOLDEN * (place + 1)))


def split_uniforms(noise: Tensor, count: int) -> Tensor:
    """Returns `count` uniform numbers (..., count) for each of some uniform numbers (...), as functions of them."""
    place = torch.arange(1, count + 1, device=noise.device)
    return to_unit_interval(mix_bits(mix_bits((noise * 2.0**BITS).long() + 1)[..., None] + GOLDEN * place))


@compile_inline
def mix_word(number):
    """Does the same as `mix_bits` for one uint64, in compiled loops."""
    number = (number ^ (number >> SHIFT_30)) * WORD_MIX_1
    number = (number ^ (number >> SHIFT_27)) * WORD_MIX_2
    return number ^ (number >> SHIFT_31)


@compile_inline
def draw_uniform(seed, place):
    """Returns the uniform number at a position counted from 1, both uint64, equal to that of `draw_uniforms`.

    It can be called in compiled loops.
    """
    return np.float32(mix_word(seed + WORD_GOLDEN * place) >> SHIFT_41) * np.float32(2.0**-BITS)
