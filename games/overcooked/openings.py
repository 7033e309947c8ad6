"""Openings of kitchens at different steps of a game."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields


@dataclass
class Staggered:
    """A source of levels (N,) int64 for `Overcooked`: the step at which the clock of a game begins.

    The games number `after` of B copies, counted from 0, begin at steps that are spread evenly over `horizon`, and all
    others at 0. So copies are out of step from then on, and every batch has decisions of all stages of a game. Where
    all copies are in step, a policy forgets the end of the game, whose observations are marked, while it learns from
    the other stages. Raises ValueError for a horizon below 1 and for a negative number.
    """

    horizon: int = 400  # of the game
    after: int = 0  # games in step
    STATE = ()

    def __post_init__(self) -> None:
        check_fields("responder.levels", self, "horizon", least=1, whole=True)
        check_fields("responder.levels", self, "after", least=0, whole=True)

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """See `LevelSource`."""
        places = torch.arange(len(seeds), device=seeds.device)
        now = number == self.after * self.horizon
        return places * self.horizon // len(seeds) if now else torch.zeros_like(places)

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Payoffs do not matter."""
