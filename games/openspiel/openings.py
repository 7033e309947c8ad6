"""Random openings: games begin with some random moves, so that learners see positions that they would not reach.

In self-play both sides soon play the same few lines, and what is learned there carries over badly to games against
other players. Random first moves are a simple form of exploring starts (Sutton and Barto 2018, section 5.3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import BITS, draw_uniforms, mix_bits

OPENINGS = 2**43  # separates the noise of these draws from that of actions


@dataclass
class RandomOpenings:
    """A source of levels (N, 2) int64 for `OpenSpielStates`: the number of random moves, and a seed for them.

    The number is uniform from 0 to `longest`. Raises ValueError for a negative one.
    """

    longest: int = 8
    STATE = ()

    def __post_init__(self) -> None:
        check_fields("responder.levels", self, "longest", least=0, whole=True)

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """See `LevelSource`."""
        noise = draw_uniforms(mix_bits(seeds + OPENINGS), number, 1, 2)[0].double()
        return (noise * torch.tensor([self.longest + 1, 2**BITS], device=seeds.device)).long()

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Payoffs do not matter."""


def draw_moves(levels: Tensor, players: int) -> list[list[list[float]]]:
    """Returns uniform numbers (N, moves, P) for the random moves of levels (N, 2).

    Raises ValueError for other levels.
    """
    if levels.ndim != 2 or levels.shape[1] != 2 or levels.dtype != torch.int64 or (levels[:, 0] < 0).any():
        raise ValueError("levels of OpenSpielStates are rows (number of random moves, seed), int64")
    longest = int(levels[:, 0].max()) if len(levels) else 0
    noise = draw_uniforms(mix_bits(levels[:, 1].cpu()), 0, longest, players).transpose(0, 1).tolist()
    return [moves[:length] for moves, length in zip(noise, levels[:, 0].tolist(), strict=True)]


def pick_move(state: Any, seats: list[int], noise: list[float]) -> list[int]:
    """Returns a random legal action for each seat, from uniform numbers (P,); 0 for seats without a choice."""
    choices = [(state.legal_actions(seat) or [0], noise[seat]) for seat in seats]
    return [actions[int(number * len(actions))] for actions, number in choices]
