"""Evaluates a profile by what its game can do: exactly, or by whole games; and scores checkpoints."""

import math
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from torch import Tensor

from marl_engine.evaluation.exploitability import measure_exactly
from marl_engine.evaluation.returns import INITIAL, Seating, against, play_whole_games, seatings, summarise
from marl_engine.types import Game, Metrics, Profile, Runner

MEASURES = ("nash_conv", "win_rate/reference", f"{INITIAL}/mean", "return/mean")  # what the best is best by


def evaluate(
    game: Game,
    profile: Profile,
    runner: Runner,
    *,
    episodes: int,
    full: bool = False,
    initial: Profile | None = None,
) -> Metrics:
    """Sampled play as trained, or all seatings, on `episodes` games each; what is exactly so in sequence form.

    With the profile that learning began with, `return/initial` too, where the seats' payoffs sum to a constant.
    """
    if hasattr(game, "form"):
        return measure_exactly(game, profile)

    def play(chosen: list[Seating]) -> list[Tensor]:
        return runner.map(partial(play_whole_games, game=game, episodes=episodes), chosen)

    chosen = seatings(profile) if full else seatings(profile)[:1]
    earned = play(chosen)
    metrics: Metrics = {}
    for seating, each in zip(chosen, earned, strict=True):
        metrics |= summarise(seating.name, each)
    metrics |= {f"return/{seat}": each.item() for seat, each in enumerate(earned[0].mean(0))}
    return metrics if initial is None else metrics | against(initial, profile, earned[0], play)


class Best(NamedTuple):
    """The best profile of a run."""

    iteration: int
    score: float  # more is better
    measure: str  # the metric that says so; of NashConv, less is better


def best_of(evaluations: Sequence[tuple[int, Metrics]]) -> Best | None:
    """The best of what was evaluated (iteration, metrics): the last one that is as good as the highest score.

    By NashConv, a win rate, or the return. Where returns sum to a constant, that of a profile against itself says
    nothing: what it earns against the initial one counts, and two standard errors below the highest are as good as it.
    """
    measure = measure_of([metrics for _, metrics in evaluations])
    if measure is None:
        return None
    sign = -1 if measure == "nash_conv" else 1
    scores = [(iteration, sign * each[measure], error_of(measure, each)) for iteration, each in evaluations]
    _, highest, error = max(scores, key=itemgetter(1))
    as_good = [(iteration, score) for iteration, score, own in scores if score >= highest - 2 * math.hypot(error, own)]
    return Best(*as_good[-1], measure)


def measure_of(evaluations: Sequence[Metrics]) -> str | None:
    """The first measure that all evaluations have."""
    return next((name for name in MEASURES if evaluations and all(name in each for each in evaluations)), None)


def error_of(measure: str, metrics: Metrics) -> float:
    """The standard error of a score that is told from others by it; 0 of those that are compared as they are."""
    return metrics[f"{INITIAL}/stderr"] if measure == f"{INITIAL}/mean" else 0.0
