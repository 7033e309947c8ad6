"""Chooses the evaluator of a game by its capabilities."""

from typing import Any

from marl_engine.capabilities import capabilities_of
from marl_engine.evaluation.bots import BotEvaluator
from marl_engine.evaluation.exact import ExactEvaluator
from marl_engine.evaluation.report import Evaluator
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.evaluation.win_rate import WinRateEvaluator
from marl_engine.types import Profile, Runner


def make_evaluator(
    game: Any,
    reference: Profile | None,
    runner: Runner,
    episodes: int = 128,
    device: str = "cpu",
    opponent: Profile | None = None,
) -> Evaluator:
    """Returns the evaluator of a game.

    It is exact for extensive games, measures win rates if the game compares texts, and otherwise plays `episodes`
    games, also against the bots of the game. `reference` is the initial profile, if it is known. With an `opponent`,
    which a solver sets its learner, games are played against that instead of bots.
    """
    able = capabilities_of(game)
    if able.extensive is not None:
        return ExactEvaluator(able.extensive)
    if able.text_preference is not None and reference is not None:
        return WinRateEvaluator(able.text_preference, reference, episodes, device, runner)
    if opponent is not None:
        return ReturnEvaluator(game, reference, runner, episodes, opponent)
    if able.bots is not None and able.bots.bots:
        return BotEvaluator(able.bots, reference, runner, episodes)
    return ReturnEvaluator(game, reference, runner, episodes)
