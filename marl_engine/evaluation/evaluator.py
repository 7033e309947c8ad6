"""Chooses, once for a game, what evaluates its profiles: by what the game can do."""

from typing import Any

from marl_engine.capabilities import capabilities_of
from marl_engine.evaluation.exact import ExactEvaluator
from marl_engine.evaluation.report import Evaluator
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.evaluation.win_rate import WinRateEvaluator
from marl_engine.types import Profile, Runner


def make_evaluator(
    game: Any, reference: Profile | None, runner: Runner, episodes: int = 128, device: str = "cpu"
) -> Evaluator:
    """Exact for extensive games, by win rates where answers in words are compared, else by `episodes` whole games.

    `reference` is the profile that learning began with, if there is one to compare with.
    """
    able = capabilities_of(game)
    if able.extensive is not None:
        return ExactEvaluator(able.extensive)
    if able.text_preference is not None and reference is not None:
        return WinRateEvaluator(able.text_preference, reference, episodes, device)
    return ReturnEvaluator(game, reference, runner, episodes)
