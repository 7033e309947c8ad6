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
    """Returns the game as one with levels. Raises Refused if it has none."""
    if lack := lack_of(game, LevelGame, "a source of levels"):
        raise Refused(lack)
    return cast(LevelGame, game)


class CopyLevels:
    """The levels (B, …) of copies with seeds (B,), and the source that draws the next ones.

    `number` is that of the next decision.
    """

    def __init__(self, game: LevelGame, source: LevelSource, seeds: Tensor, number: int, level: Tensor):
        self.game, self.source, self.seeds, self.number, self.level = game, source, seeds, number, level

    def restart(self, turn: Turn) -> Turn:
        """Draws levels for copies whose game is done; returns the turn with their openings.

        Called after every decision.
        """
        self.number += 1
        if not turn.done.any():
            return turn
        copies = turn.done.nonzero()[:, 0]
        level = self.source.draw(self.seeds[copies], self.number)
        self.level = self.level.index_copy(0, copies, level)
        opening = self.game.restart(copies, level)
        return turn._replace(
            observation=opening.observation, legal=opening.legal, acting=opening.acting, alive=opening.alive
        )


@dataclass
class Stages:
    """A curriculum: levels in order of difficulty, of which the next follows when the present one is mastered.

    A level is mastered if the mean payoff of the last `games` games at it, over all seats, is at least `threshold`.
    Raises ValueError without levels.
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
        try:
            self.table = torch.tensor(list(self.levels))
        except (ValueError, TypeError, RuntimeError) as error:
            raise Refused(
                f"responder.levels.levels must be numbers, or lists of numbers of one length, not {self.levels!r}"
            ) from error
        self.stage = 0  # the place of the present level
        self.earned = torch.zeros(0)  # of the last games at the present level

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """Returns the present level for each seed (N,)."""
        level = self.table[self.stage].to(seeds.device)
        return level.expand(len(seeds), *level.shape)

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Records payoffs of games, and moves to the next level if it is time.

        Games at other levels do not count.
        """
        here = (levels == self.table[self.stage].to(levels.device)).view(len(levels), -1).all(1).cpu()
        self.earned = torch.cat([self.earned, earned[here].mean(-1)])[-self.games :]
        mastered = len(self.earned) == self.games and self.earned.mean() >= self.threshold
        if mastered and self.stage + 1 < len(self.levels):
            self.stage, self.earned = self.stage + 1, torch.zeros(0)
