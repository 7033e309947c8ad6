"""How uncertain a meta-equilibrium is, by the bootstrap.

Sampled payoffs have errors, and a meta-game with slightly different payoffs may have quite another equilibrium. So the
payoffs of all cells are drawn again, from normal distributions with their means and standard errors (the errors of the
seats in a cell have the covariance of their payoffs, so a zero-sum game stays one), and the meta-game is solved for
each draw. The quantiles of the solutions are intervals (Efron 1979; for games: Rowland et al. 2019, arXiv:1909.09849).

Shapes: P seats, n_p members of seat p, R draws. A solution is a joint distribution (n_0, n_1, …) over cells.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from marl_engine.populations.payoffs import PayoffTable, Place, exchanges

CONFIDENCE = 0.95
NEGLIGIBLE = 1e-9  # variance, relative to the largest of a cell

MetaSolver = Callable[[np.ndarray], np.ndarray]  # payoffs (P, n_0, n_1, …) -> joint distribution (n_0, n_1, …)


class Interval(NamedTuple):
    """An estimate with the ends of its interval; arrays of one shape."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Uncertainty(NamedTuple):
    """Intervals of a meta-equilibrium."""

    value: Interval  # (P,) what each seat earns
    weights: list[Interval]  # (n_p,) for each seat: probabilities of its members
    distance: float  # mean over draws and seats of the total variation distance from the estimated weights
    importance: np.ndarray  # (n_0, n_1, …) mean over draws of the squared probability of a cell


def bootstrap(
    payoffs: PayoffTable, solve: MetaSolver, joint: np.ndarray, draws: int, generator: np.random.Generator
) -> Uncertainty:
    """Returns intervals of the meta-equilibrium `joint` of a payoff table, from R = `draws` draws.

    If all payoffs are exact, the intervals have no width and nothing is drawn.
    """
    tables = [payoffs.mean + error for error in draw_errors(payoffs, draws, generator)]
    solutions = [solve(table) for table in tables] or [joint]
    values = [expected_value(table, each) for table, each in zip(tables or [payoffs.mean], solutions, strict=True)]
    weights = [marginals(each) for each in solutions]
    estimate = marginals(joint)
    return Uncertainty(
        interval(expected_value(payoffs.mean, joint), values),
        [interval(own, [each[seat] for each in weights]) for seat, own in enumerate(estimate)],
        float(np.mean([np.abs(a - b).sum() / 2 for each in weights for a, b in zip(each, estimate, strict=True)])),
        np.mean(np.square(solutions), axis=0),
    )


def interval(estimate: np.ndarray, samples: Sequence[np.ndarray]) -> Interval:
    """Returns an estimate with the quantiles of samples, between which `CONFIDENCE` of them lie."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return Interval(estimate, low, high)


def draw_errors(payoffs: PayoffTable, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Returns errors (R, P, n_0, n_1, …) of the payoffs of a table; R is 0 if all payoffs are exact.

    In a symmetric table cells that are equal by an exchange of seats have equal errors.
    """
    covariance = payoffs.covariance()
    if not covariance.any():
        return np.empty((0, *payoffs.mean.shape))
    root = square_root(np.moveaxis(covariance, (0, 1), (-2, -1)))
    noise = generator.standard_normal((draws, *root.shape[:-1]))
    errors = np.moveaxis(np.einsum("...pq,r...q->r...p", root, noise), -1, 1)
    return mirror(errors, payoffs) if payoffs.symmetric else errors


def square_root(covariance: np.ndarray) -> np.ndarray:
    """Returns matrices (…, P, P) whose products with their transposes are covariances (…, P, P)."""
    variances, vectors = np.linalg.eigh(covariance)
    kept = np.where(variances > NEGLIGIBLE * variances[..., -1:], variances, 0)
    root: np.ndarray = vectors * np.sqrt(kept)[..., None, :]
    return root


def mirror(errors: np.ndarray, payoffs: PayoffTable) -> np.ndarray:
    """Returns errors (R, P, n_0, n_1, …) in which cells that are not played have those of the cell that is."""
    result = errors.copy()
    for place in map(tuple, np.ndindex(payoffs.games.shape)):
        if payoffs.is_played(place):
            for seats in exchanges(payoffs.players):
                result[(slice(None), slice(None), *(place[seat] for seat in seats))] = errors[
                    (slice(None), list(seats), *place)
                ]
    return result


def most_uncertain(payoffs: PayoffTable, importance: np.ndarray, games: int, count: int) -> list[Place]:
    """Returns up to `count` cells in which `games` more games reduce the uncertainty of the value most.

    To first order a payoff moves the value of an equilibrium by the probability of its cell, so a cell contributes the
    squared probability times the variance of its mean. Cells to which no draw gives any probability are left out.
    """
    played = payoffs.games
    with np.errstate(invalid="ignore"):
        share = np.where(np.isfinite(played), games / (played + games), 0)  # of the variance that vanishes
    gain = importance * np.einsum("pp...->...", payoffs.covariance()) * share
    places = [place for place in map(tuple, np.argwhere(gain > 0).tolist()) if payoffs.is_played(place)]
    return sorted(places, key=lambda place: (-gain[place], place))[:count]


def product_joint(strategies: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the joint distribution (n_0, n_1, …) of seats that draw members independently (n_p,)."""
    joint: np.ndarray = reduce(np.multiply.outer, strategies)
    return joint


def marginals(joint: np.ndarray) -> list[np.ndarray]:
    """Returns the distribution (n_p,) of each seat."""
    seats = range(joint.ndim)
    return [joint.sum(axis=tuple(other for other in seats if other != seat)) for seat in seats]


def expected_value(payoffs: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Returns the expected payoffs (P,) of a joint distribution."""
    value: np.ndarray = (payoffs * joint).reshape(len(payoffs), -1).sum(1)
    return value
