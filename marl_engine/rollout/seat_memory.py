"""Conversions of memory between rows of all seats of a policy and one tree for each seat."""

from collections.abc import Sequence

import torch

from marl_engine.numerics.trees import map_tree, same_layout
from marl_engine.types import Memory


def split_seats(memory: Memory, seats: int) -> list[Memory]:
    """Returns the memory of each seat, (B, …), from that of a policy in several seats, (N, …) game by game."""
    return [
        map_tree(lambda each, place=seat: each.unflatten(0, (-1, seats))[:, place], memory) for seat in range(seats)
    ]


def join_seats(memories: Sequence[Memory]) -> Memory:
    """The converse of `split_seats`."""
    return map_tree(lambda *each: torch.stack(each, dim=1).flatten(0, 1), *memories)


def recall(initial: Memory, memory: Sequence[Memory], seats: Sequence[int]) -> Memory:
    """Returns the memory (N, …) of a policy in some seats, from that of all seats (P,).

    Seats whose memory has another layout get the policy's initial memory.
    """
    trees = [
        memory[seat] if same_layout(memory[seat], fresh) else fresh
        for seat, fresh in zip(seats, split_seats(initial, len(seats)), strict=True)
    ]
    return map_tree(lambda fresh, each: each.to(fresh.device), initial, join_seats(trees))
