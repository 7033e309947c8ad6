"""The table of results of a tournament, from which all ratings are computed, and the form of a rating.

A *deal* is one seed, with which a pair of entrants plays one game in every seating. Games of a deal share their chance
moves, so the standard errors of payoffs are those of means over deals.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from marl_engine.ratings.lineups import (
    TIE,
    Lineup,
    Lineups,
    LineupTally,
    count_wins,
    draw_means,
    gather_lineups,
    pair_payoffs,
    sum_pairs,
)

CONFIDENCE = 0.95  # of the intervals of ratings
QUANTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
WIDTH = 1.959964  # standard errors on each side of an estimate
RESAMPLES = 1000  # bootstrap samples of a table,
NUMBERS = 20_000_000  # fewer if they have more numbers than this
ROUNDING = 1e-9  # differences of payoffs that may be rounding errors


class Tally(NamedTuple):
    """Sums over games of two entrants, the first and the second. Payoffs are means over the seatings of each deal."""

    deals: float
    games: float
    wins: float  # games in which the first earned more
    draws: float
    first: float  # sum of the payoffs of the first,
    second: float  # and of the second
    first_squares: float  # sums of their squares,
    second_squares: float
    products: float  # and of their products


class Results(NamedTuple):
    """Results of N entrants against each other; entry (i, j) is what i achieved against j.

    In a game of a team all seats are paid the same; then i and j play together, and (i, i) is i with itself. With
    line-ups, entry (i, j) is what i achieved in all games in which it met j, beside others.
    """

    names: tuple[str, ...]
    games: np.ndarray  # (N, N) number of games; 0: they have not met
    wins: np.ndarray  # (N, N) number of games that i won
    draws: np.ndarray  # (N, N)
    payoff: np.ndarray  # (N, N) mean payoff of i; nan if they have not met
    stderr: np.ndarray  # (N, N) its standard error
    covariance: np.ndarray  # (N, N) of the mean payoffs of i and of j
    team: bool = False
    exact: bool = False  # payoffs and shares of wins are expectations; `games` is 1 for each pair
    lineups: Lineups | None = None  # from which the tables are made; None: entrants met in pairs

    @property
    def met(self) -> np.ndarray:
        """Returns which entrants (N, N) have met; nobody meets itself."""
        return (self.games > 0) & ~np.eye(len(self.names), dtype=bool)

    @property
    def lead(self) -> np.ndarray:
        """Returns the mean payoff of i minus that of j, (N, N)."""
        return self.payoff - self.payoff.T

    @property
    def lead_stderr(self) -> np.ndarray:
        """Returns the standard error of the lead, (N, N)."""
        return np.sqrt(np.maximum(self.stderr**2 + self.stderr.T**2 - 2 * self.covariance, 0.0))


class Rating(NamedTuple):
    """A number for each of N entrants, with an interval of confidence `CONFIDENCE`; nan where there is none."""

    key: str
    title: str
    meaning: str  # a sentence for readers of the report
    value: np.ndarray  # (N,)
    low: np.ndarray  # (N,)
    high: np.ndarray  # (N,)
    notes: tuple[str, ...] = ()


def tally_payoffs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the tally (9,) of payoffs (K, D) of two entrants in K seatings of D deals."""
    gap = first - second
    tie = np.abs(gap) <= TIE * (1 + np.abs(first))
    a, b = first.mean(0), second.mean(0)
    sums = (a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum())
    return np.array(Tally(len(a), gap.size, int(((gap > 0) & ~tie).sum()), int(tie.sum()), *sums), float)


def swap(tally: np.ndarray) -> np.ndarray:
    """Returns tallies (…, 9) with the two entrants exchanged."""
    deals, games, wins, draws, first, second, first_squares, second_squares, products = np.moveaxis(tally, -1, 0)
    losses = games - wins - draws
    return np.stack([deals, games, losses, draws, second, first, second_squares, first_squares, products], axis=-1)


def tabulate(names: Sequence[str], tallies: np.ndarray, *, exact: bool = False) -> Results:
    """Returns the results of tallies (N, N, 9), whose entry (i, j) has i as the first; both (i, j) and (j, i) are set.

    A variance is estimated with one further deal that has the mean variance of all pairs, so that a pair with few deals
    is not taken for certain.
    """
    deals, games, wins, draws, first, second, first_squares, _, products = np.moveaxis(tallies, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, other = first / deals, second / deals
        spread = np.maximum(first_squares - deals * mean**2, 0.0)  # sums of squared deviations
        joint = products - deals * mean * other
    known = np.maximum((np.maximum(deals, 1.0) - 1).sum(), 1.0)
    pooled, pooled_joint = np.nansum(spread) / known, np.nansum(joint) / known
    with np.errstate(invalid="ignore", divide="ignore"):
        stderr = np.sqrt((spread + pooled) / deals) / np.sqrt(deals)
        covariance = (joint + pooled_joint) / deals**2
    zero = np.zeros_like(games)
    errors = (zero, zero) if exact else (stderr, covariance)
    varies = pooled > ROUNDING or np.ptp(mean[deals > 0]) > ROUNDING if deals.any() else False
    team = bool(np.allclose(draws, games) and varies)
    return Results(tuple(names), games, wins, draws, mean, *errors, team, exact)


def tabulate_lineups(names: Sequence[str], tallies: Mapping[Lineup, LineupTally], *, exact: bool = False) -> Results:
    """Returns the results of line-ups of more than two entrants."""
    lineups, count = gather_lineups(tallies), len(names)
    wins, draws = count_wins(lineups)
    shape = wins.shape
    met, games, won, drawn = (
        sum_pairs(lineups, count, each)
        for each in (np.ones(shape), wins + draws + wins.transpose(0, 2, 1), wins, draws)
    )
    variance = sum_pairs(lineups, count, np.broadcast_to(np.einsum("mpp->mp", lineups.covariance)[:, :, None], shape))
    share = met if exact else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        games, won, drawn = (np.nan_to_num(each / share) for each in (games, won, drawn))
        stderr, covariance = np.sqrt(variance) / met, sum_pairs(lineups, count, lineups.covariance) / met**2
    payoff = pair_payoffs(lineups, count, [lineups.mean])[0]
    varies = np.ptp(lineups.mean) > ROUNDING or variance.max(initial=0.0) > ROUNDING
    team = bool(np.allclose(drawn, games) and varies)
    return Results(tuple(names), games, won, drawn, payoff, stderr, covariance, team, exact, lineups)


def resample(results: Results, seed: int = 0, most: int = RESAMPLES) -> np.ndarray:
    """Returns payoffs (R, N, N) as other tournaments of the same size could have had them.

    A parametric bootstrap: the two mean payoffs of each pair are drawn from a normal distribution with their standard
    errors and their covariance, and those of line-ups likewise. Entries of pairs that have not met stay nan.
    """
    count = len(results.names)
    if results.lineups is not None:
        lineups = results.lineups
        size = max(20, min(most, NUMBERS // max(count**2, lineups.covariance.size)))
        return pair_payoffs(lineups, count, draw_means(lineups, size, seed))
    random = np.random.default_rng(seed)
    upper = np.triu_indices(count)
    lower = upper[::-1]
    one, other = results.stderr[upper], results.stderr[lower]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.clip(np.nan_to_num(results.covariance[upper] / (one * other)), -1.0, 1.0)
    size = max(20, min(most, NUMBERS // count**2))
    samples = np.repeat(results.payoff[None], size, axis=0)
    for sample in samples:
        noise, rest = random.standard_normal((2, len(one)))
        sample[upper] += one * noise
        sample[lower] = results.payoff[lower] + other * (correlation * noise + np.sqrt(1 - correlation**2) * rest)
    return samples


def interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower and upper ends (N,) of the intervals of samples (R, N)."""
    low, high = np.quantile(samples, QUANTILES, axis=0)
    return low, high
