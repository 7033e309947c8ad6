"""Levels: parameters of single copies of a game, such as a layout or a difficulty, chosen when a game opens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from marl_engine.capabilities import LevelGame, lack_of
from marl_engine.errors import Refused
from marl_engine.numerics.checks import check_fields
from marl_engine.types import Game, LevelSource, Turn


def level_game(game: Game) -> LevelGame:
    """The game as one with levels. Raises Refused for one without."""
    if lack := lack_of(game, LevelGame, "a source of levels"):
        raise Refused(lack)
    return cast(LevelGame, game)


class CopyLevels:
    """The levels (B, …) of the copies of a game with seeds (B,), the next of which are asked of a source.

    `number` is that of the next decision.
    """

    def __init__(self, game: LevelGame, source: LevelSource, seeds: Tensor, number: int, level: Tensor):
        self.game, self.source, self.seeds, self.number, self.level = game, source, seeds, number, level

    def restart(self, turn: Turn) -> Turn:
        """Opens the games of copies that are done at levels of the source; returns the turn with what they open with.

        It is called after every decision.
        """
        self.number += 1
        if not turn.done.any():
            return turn
        copies = turn.done.nonzero()[:, 0]
        level = self.source.draw(self.seeds[copies], self.number)
        self.level = self.level.index_copy(0, copies, level)
        opened = self.game.restart(copies, level)
        return turn._replace(
            observation=opened.observation, legal=opened.legal, acting=opened.acting, alive=opened.alive
        )


@dataclass
class Stages:
    """Levels in their order of difficulty: the next one follows as soon as the present one is mastered.

    That is when the mean of what the last games at the present level earned, over `games` of them and all seats, is
    `threshold` or more. Raises ValueError without levels.
    """

    levels: Sequence[Any]
    threshold: float
    games: int = 100
    STATE = ("stage", "earned")

    def __post_init__(self) -> None:
        check_fields("responder.levels", self, "games", least=1, whole=True)
        check_fields("responder.levels", self, "threshold")
        if not self.levels:
            raise Refused("responder.levels.levels must name at least one level")
        self.stage = 0  # the place of the present level
        self.earned = torch.zeros(0)  # of the last games at the present level

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """The present level, for each of the seeds (N,)."""
        level = torch.tensor(self.levels[self.stage], device=seeds.device)
        return level.expand(len(seeds), *level.shape)

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Goes on to the next level if it is time. Games (N,) at other levels do not count."""
        level = torch.tensor(self.levels[self.stage], device=levels.device)
        here = (levels == level).view(len(levels), -1).all(1).cpu()
        self.earned = torch.cat([self.earned, earned[here].mean(-1)])[-self.games :]
        mastered = len(self.earned) == self.games and self.earned.mean() >= self.threshold
        if mastered and self.stage + 1 < len(self.levels):
            self.stage, self.earned = self.stage + 1, torch.zeros(0)
