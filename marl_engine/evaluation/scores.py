"""The metric by which profiles are compared, and the best profile of a run."""

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from marl_engine.evaluation.report import Score
from marl_engine.types import Metrics

INITIAL = "return/initial"  # the learner's return in one seat against the initial policies
BOT = "return/bot"  # the learner's return in one seat against a bot of the game
SAMPLED = {f"{name}/mean": f"{name}/stderr" for name in (BOT, INITIAL)}  # scores with a standard error
LABELS = {  # by metric; the first measured one is the score
    "nash_conv": "NashConv",
    "win_rate/reference": "win rate",
    f"{BOT}/mean": "return",
    f"{INITIAL}/mean": "return",
    "return/mean": "return",
}
LESS_IS_BETTER = "nash_conv"


class Best(NamedTuple):
    """The best profile of a run."""

    iteration: int
    score: float  # more is better
    measure: str  # the metric; for NashConv less is better


def score_of(metrics: Metrics, measure: str | None = None) -> Score | None:
    """Returns the score of metrics by a measure, by default the first of `LABELS` that they have.

    Returns None if they have none.
    """
    measure = measure or next((name for name in LABELS if name in metrics), None)
    if measure is None:
        return None
    value = -metrics[measure] if measure == LESS_IS_BETTER else metrics[measure]
    error = metrics[SAMPLED[measure]] if measure in SAMPLED else 0.0
    return Score(measure, LABELS[measure], value, error)


def best_of(evaluations: Sequence[tuple[int, Metrics]]) -> Best | None:
    """Returns the best of evaluations (iteration, metrics): the last one that is as good as the highest score.

    The measure is the first that all evaluations have. Scores against a bot or the initial policies have a standard
    error; those within two standard errors of the highest are as good.
    """
    measure = next((name for name in LABELS if all(name in metrics for _, metrics in evaluations)), None)
    scores = [(iteration, score) for iteration, metrics in evaluations if (score := score_of(metrics, measure))]
    if measure is None or not scores:
        return None
    highest = max((score for _, score in scores), key=itemgetter(2))
    as_good = [
        (iteration, score.value)
        for iteration, score in scores
        if score.value >= highest.value - 2 * math.hypot(highest.error, score.error)
    ]
    return Best(*as_good[-1], measure)
