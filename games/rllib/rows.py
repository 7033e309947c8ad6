"""What a seat observes, as a row of numbers: the form in which RLlib sees the games that it trains our policies in."""

from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.types import Game


class View(NamedTuple):
    """What N seats observe before they act, as a policy takes it."""

    observation: Tensor  # (N, …) in the game's own type
    legal: Tensor  # (N, A) bool
    seat: Tensor  # (N,) int64


class RowLayout(NamedTuple):
    """A row (W,) float32 has the seat, its legal actions (A,), and its observation (D,), one after the other.

    Numbers of states are exact up to 2^24.
    """

    actions: int  # A
    shape: tuple[int, ...]  # of an observation
    dtype: torch.dtype  # of an observation

    @property
    def width(self) -> int:
        """W"""
        return 1 + self.actions + prod(self.shape)

    def write(self, seat: int, legal: Tensor, observation: Tensor) -> np.ndarray:
        """Returns the row (W,) of a seat, from its legal actions (A,) and its observation (…)."""
        row = torch.cat([torch.tensor([float(seat)]), legal.float(), observation.flatten().float()])
        array: np.ndarray = row.numpy()
        return array

    def read(self, rows: Tensor) -> View:
        """Returns the view of N seats, from rows (N, W)."""
        seat, legal, observation = rows.split([1, self.actions, prod(self.shape)], dim=1)
        return View(observation.to(self.dtype).unflatten(1, self.shape), legal > 0, seat[:, 0].long())


def layout_of(game: Game) -> RowLayout:
    """Returns the layout of rows of a game, which is opened for it."""
    turn: Any = game.reset(torch.zeros(1, dtype=torch.int64))
    return RowLayout(turn.legal.shape[-1], tuple(turn.observation.shape[2:]), turn.observation.dtype)
