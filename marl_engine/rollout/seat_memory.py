"""What policies remember, in rows of all their seats, and seat by seat."""

from collections.abc import Sequence

import torch

from marl_engine.numerics.trees import map_tree, same_layout
from marl_engine.types import Memory


def split_seats(memory: Memory, seats: int) -> list[Memory]:
    """Of what a policy remembers in several seats, (N, …) game by game, what each of them does: (B, …)."""
    return [
        map_tree(lambda each, place=seat: each.unflatten(0, (-1, seats))[:, place], memory) for seat in range(seats)
    ]


def join_seats(memories: Sequence[Memory]) -> Memory:
    """The converse of `split_seats`."""
    return map_tree(lambda *each: torch.stack(each, dim=1).flatten(0, 1), *memories)


def recall(initial: Memory, memory: Sequence[Memory], seats: Sequence[int]) -> Memory:
    """What a policy remembers (N, …) that sits in some seats, of what all seats remember (P,).

    In a seat whose memory is laid out in another way than its own, that is the policy's initial memory (N, …).
    """
    kept = [
        memory[seat] if same_layout(memory[seat], fresh) else fresh
        for seat, fresh in zip(seats, split_seats(initial, len(seats)), strict=True)
    ]
    return map_tree(lambda fresh, each: each.to(fresh.device), initial, join_seats(kept))
