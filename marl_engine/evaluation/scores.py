"""By what profiles are compared, and which of several is the best."""

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from marl_engine.evaluation.report import Score
from marl_engine.types import Metrics

INITIAL = "return/initial"  # what the learner earns in one seat, the others being as they were at first
LABELS = {  # of the metrics that profiles are compared by, the first that was measured
    "nash_conv": "NashConv",
    "win_rate/reference": "win rate",
    f"{INITIAL}/mean": "return",
    "return/mean": "return",
}
LESS_IS_BETTER = "nash_conv"


class Best(NamedTuple):
    """The best profile of a run."""

    iteration: int
    score: float  # more is better
    measure: str  # the metric that says so; of NashConv, less is better


def score_of(metrics: Metrics, measure: str | None = None) -> Score | None:
    """The score that metrics have by a measure, or by the first that they have."""
    measure = measure or next((name for name in LABELS if name in metrics), None)
    if measure is None:
        return None
    value = -metrics[measure] if measure == LESS_IS_BETTER else metrics[measure]
    error = metrics[f"{INITIAL}/stderr"] if measure == f"{INITIAL}/mean" else 0.0
    return Score(measure, LABELS[measure], value, error)


def best_of(evaluations: Sequence[tuple[int, Metrics]]) -> Best | None:
    """The best of what was evaluated (iteration, metrics): the last one that is as good as the highest score.

    By the first measure that all evaluations have. Where returns sum to a constant, that of a profile against itself
    says nothing: what it earns against the initial one counts, and two standard errors below the highest are as good.
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
