"""Openings of kitchens at different steps of a game."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields


@dataclass
class Staggered:
    """A source of levels (N,) int64 for `Overcooked`: the step at which the clock of a game begins.

    The first games of B copies begin at steps that are spread evenly over `horizon`, and later games at 0. So copies
    are out of step for good, and every batch has decisions of all stages of a game. Where all copies are in step, a
    policy forgets the end of the game, whose observations are marked, while it learns from the other stages. Raises
    ValueError for a horizon below 1.
    """

    horizon: int = 400  # of the game
    STATE = ()

    def __post_init__(self) -> None:
        check_fields("responder.levels", self, "horizon", least=1, whole=True)

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """See `LevelSource`."""
        places = torch.arange(len(seeds), device=seeds.device)
        return places * self.horizon // len(seeds) if number == 0 else torch.zeros_like(places)

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Payoffs do not matter."""
