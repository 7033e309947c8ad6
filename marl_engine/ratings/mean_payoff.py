"""The mean payoff of an entrant against all others that it met, each with the same weight."""

import numpy as np

from marl_engine.ratings.results import Rating, Results, interval, resample


def rate_payoff(results: Results) -> Rating:
    """Returns the mean payoffs against (in a team: with) the others, with bootstrap intervals."""
    value = mean_over_opponents(results.payoff, results.met)
    low, high = interval(mean_over_opponents(resample(results), results.met))
    if results.team:
        meaning = "Mean payoff of a team of this entrant and each of the others, without the teams with itself."
        return Rating("payoff", "cross-play payoff", meaning, value, low, high)
    return Rating("payoff", "mean payoff", "Mean payoff against all others, each with equal weight.", value, low, high)


def rate_self_play(results: Results) -> Rating:
    """Returns the payoffs of teams of an entrant and itself, with bootstrap intervals."""
    low, high = interval(np.diagonal(resample(results), axis1=1, axis2=2))
    meaning = (
        "Payoff of a team in which this entrant plays all seats. Far above cross-play: it only understands itself."
    )
    return Rating("self_play", "self-play payoff", meaning, np.diagonal(results.payoff).copy(), low, high)


def mean_over_opponents(payoff: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Returns the means (..., N) of the rows of payoffs (..., N, N) over the entries that are `met` (N, N)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means: np.ndarray = np.where(met, np.nan_to_num(payoff), 0.0).sum(-1) / met.sum(-1)
    return means


def order_stderr(results: Results, one: int, other: int) -> tuple[float, float]:
    """Returns by how much the mean payoff of an entrant exceeds that of another, and the standard error.

    Only opponents that both have met count, and the games of the two against each other.
    """
    shared = results.met[one] & results.met[other]
    both = bool(results.met[one, other])
    count = int(shared.sum()) + both
    if not count:
        return 0.0, np.inf
    gap = float((results.payoff[one] - results.payoff[other])[shared].sum())
    variance = float((results.stderr[one] ** 2 + results.stderr[other] ** 2)[shared].sum())
    if both:
        gap += float(results.lead[one, other])
        variance += float(results.lead_stderr[one, other] ** 2)
    return gap / count, variance**0.5 / count
