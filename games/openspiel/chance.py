"""Chance in games that are played through states: a function of the copy's seed and the number of earlier draws."""

from collections.abc import Iterator
from itertools import count

import torch

from marl_engine.extensive_form.tree_play import CHANCE_STREAM
from marl_engine.numerics.rng import draw_uniforms, mix_bits

BLOCK = 64  # chance draws whose noise is computed together


def chance_noise(seed: int, draws: int) -> Iterator[float]:
    """Yields the uniform numbers of chance in a copy, after a number of draws."""
    key = mix_bits(torch.tensor([seed]) ^ int(CHANCE_STREAM))
    for first in count(draws, BLOCK):
        yield from draw_uniforms(key, first, BLOCK, 1).flatten().tolist()


def sample(outcomes: list[tuple[int, float]], noise: float) -> int:
    """Returns the first outcome of chance whose cumulative probability exceeds the noise."""
    total = 0.0
    for action, share in outcomes:
        total += share
        if total > noise:
            return action
    return outcomes[-1][0]
