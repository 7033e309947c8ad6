"""Conversions of memory between rows of all seats of a policy and one tree for each seat."""

from collections.abc import Sequence
from typing import TypeAlias

import torch

from marl_engine.numerics.trees import map_tree, match_layout
from marl_engine.types import Memory

SeatMemory: TypeAlias = tuple[tuple[Memory, ...], ...]
"""The memory of the seats of B games: layers of P trees (B, …).

There is one layer, unless policies with different layouts of memory play in a seat. Then each layout has its own layer,
in which the rows of other copies of the game have no meaning.
"""


def split_seats(memory: Memory, seats: int) -> list[Memory]:
    """Returns the memory of each seat, (B, …), from that of a policy in several seats, (N, …) game by game."""
    return [
        map_tree(lambda each, place=seat: each.unflatten(0, (-1, seats))[:, place], memory) for seat in range(seats)
    ]


def join_seats(memories: Sequence[Memory]) -> Memory:
    """The converse of `split_seats`."""
    return map_tree(lambda *each: torch.stack(each, dim=1).flatten(0, 1), *memories)


def recall(initial: Memory, memory: SeatMemory, seats: Sequence[int]) -> Memory:
    """Returns the memory (N, …) of a policy in some seats.

    Seats without a memory of the policy's layout get its initial memory.
    """
    trees = [
        match_layout(fresh, *(layer[seat] for layer in memory))
        for seat, fresh in zip(seats, split_seats(initial, len(seats)), strict=True)
    ]
    return join_seats(trees)
