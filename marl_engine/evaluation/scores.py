"""The metric by which profiles are compared, and the best profile of a run."""

import math
from collections.abc import Sequence
from operator import itemgetter
from statistics import stdev
from typing import NamedTuple

from marl_engine.evaluation.report import Score
from marl_engine.types import Metrics

INITIAL = "return/initial"  # the learner's return in one seat against the initial policies
OPPONENT = "return/opponent"  # the learner's return in one seat against the opponents that its solver sets it
BOT = "return/bot"  # the learner's return in one seat against a bot of the game
SAMPLED = {f"{name}/mean": name for name in (OPPONENT, BOT, INITIAL)}  # scores with a standard error
BLOCK = "block"  # part of the names of mean returns of blocks of games
LABELS = {  # by metric; the first measured one is the score
    "nash_conv": "NashConv",
    "win_rate/reference": "win rate",
    f"{OPPONENT}/mean": "return",
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
    error = metrics[f"{SAMPLED[measure]}/stderr"] if measure in SAMPLED else 0.0
    return Score(measure, LABELS[measure], value, error)


def best_of(evaluations: Sequence[tuple[int, Metrics]]) -> Best | None:
    """Returns the best of evaluations (iteration, metrics): the last one that is as good as the highest score.

    The measure is the first that all evaluations have. Scores against a bot or the initial policies have a standard
    error; those within two standard errors of their difference to the highest are as good.
    """
    measure = next((name for name in LABELS if all(name in metrics for _, metrics in evaluations)), None)
    scores = [(each, score.value) for each in evaluations if (score := score_of(each[1], measure))]
    if measure is None or not scores:
        return None
    (_, reference), highest = max(scores, key=itemgetter(1))
    as_good = [
        (iteration, value)
        for (iteration, metrics), value in scores
        if value >= highest - 2 * error_of_difference(metrics, reference, measure)
    ]
    return Best(*as_good[-1], measure)


def error_of_difference(first: Metrics, second: Metrics, measure: str) -> float:
    """Returns the standard error of the difference between two evaluations; 0 for a measure without one.

    The games of all evaluations have the same seeds, so equal cards are dealt, and scores are not independent. Where
    both have the mean returns of blocks of games, the error is that of the mean difference between equal blocks.
    """
    if measure not in SAMPLED:
        return 0.0
    name = SAMPLED[measure]
    differences = [first[key] - second[key] for key in first if key.startswith(f"{name}/{BLOCK}/") and key in second]
    if len(differences) < 2:
        return math.hypot(first[f"{name}/stderr"], second[f"{name}/stderr"])
    return stdev(differences) / math.sqrt(len(differences))
