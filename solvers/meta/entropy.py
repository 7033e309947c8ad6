"""The most even distribution under linear conditions: p >= 0, sum p = 1, gains p <= 0, the largest entropy.

Its dual has a multiplier w >= 0 for each condition: minimise log sum_n exp(-w' gains_n), and p ~ exp(-w' gains)
(Jaynes 1957; for equilibria Ortiz, Schapire and Kakade 2007). Projected Newton steps find them (Bertsekas 1982): those
at 0 that would go below are held, all others move together. Multipliers are finite only if p is above 0
everywhere; where it is not, a linear programme finds everything that can be above 0, and the rest is left out.
"""

from typing import Any

import numpy as np

EXACT = 1e-13  # how far conditions may be missed
FEW, MANY = 20, 200  # steps: as if everything could be above 0, and where that is known
LARGE = 1_000  # conditions from which on rough multipliers are found first, without second derivatives
SHORTEST = 1e-6  # share of a step


def possible(gains: Any) -> np.ndarray:
    """Which of N numbers are above 0 in some p >= 0 with gains (C, N) p <= 0, dense or sparse; (N,) bool.

    max sum t over p = t + s, 0 <= t <= 1, s >= 0: the conditions are a cone, so that all that can be above 0 can be 1.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack

    count = gains.shape[1]
    both = hstack([csr_array(gains), csr_array(gains)])
    bounds = np.zeros((2 * count, 2))
    bounds[:count, 1], bounds[count:, 1] = 1, np.inf
    worth = np.concatenate([-np.ones(count), np.zeros(count)])
    found = linprog(worth, both, np.zeros(gains.shape[0]), bounds=bounds, method="highs")
    return np.ones(count, bool) if found.x is None else found.x[:count] > 0.5


def most_even(gains: Any) -> np.ndarray:
    """The distribution (N,) with the largest entropy among those with gains (C, N) p <= 0.

    Raises ValueError if there is none.
    """
    weights, off = multipliers(gains, FEW)
    if off <= EXACT:
        return boltzmann(gains, weights)
    where = possible(gains)
    if not where.any():
        raise ValueError("no distribution meets the conditions")
    inside, whole = gains[:, np.flatnonzero(where)], np.zeros(len(where))
    whole[where] = boltzmann(inside, multipliers(inside, MANY)[0])
    return whole


def boltzmann(gains: Any, weights: np.ndarray) -> np.ndarray:
    """p (N,) ~ exp(-weights' gains)."""
    energy = gains.T @ weights
    odds = np.exp(energy.min() - energy)
    return odds / odds.sum()


def height(gains: Any, weights: np.ndarray) -> float:
    """log sum exp(-weights' gains); its slope is -gains p."""
    energy = gains.T @ weights
    return float(np.log(np.exp(energy.min() - energy).sum()) - energy.min())


def multipliers(gains: Any, steps: int) -> tuple[np.ndarray, float]:
    """w (C,) >= 0 with the least height, and how far p is off: the most that a condition is missed by, or not met
    with equality though its multiplier is above 0.
    """
    weights = rough(gains) if gains.shape[0] > LARGE else np.zeros(gains.shape[0])
    for _ in range(steps):
        p = boltzmann(gains, weights)
        mean = gains @ p
        off = np.where(weights > 0, np.abs(mean), np.maximum(mean, 0)).max(initial=0.0)
        after = None if off <= EXACT else lower(gains, weights, p, mean)
        if after is None:
            break
        weights = after
    return weights, off


def lower(gains: Any, weights: np.ndarray, p: np.ndarray, mean: np.ndarray) -> np.ndarray | None:
    """The weights (C,) after a Newton step, shortened until that lowers the height; None if nothing does."""
    free = np.flatnonzero((weights > 0) | (mean > 0))
    part = gains[free]
    part = part.toarray() if hasattr(part, "toarray") else part
    spread = (part * p) @ part.T - np.outer(mean[free], mean[free])
    spread[np.diag_indices_from(spread)] += 1e-16 + 1e-12 * np.trace(spread) / len(free)
    step, now, share = np.linalg.solve(spread, mean[free]), height(gains, weights), 1.0
    while share > SHORTEST:
        after = weights.copy()
        after[free] = np.maximum(weights[free] + share * step, 0)
        gained = mean @ (after - weights)
        if gained >= 0 and height(gains, after) <= now - 1e-4 * gained + 1e-15 * abs(now):
            return after
        share /= 2
    return None


def rough(gains: Any) -> np.ndarray:
    """w (C,) >= 0 with a low height, by L-BFGS-B."""
    from scipy.optimize import minimize

    def with_slope(weights: np.ndarray) -> tuple[float, np.ndarray]:
        return height(gains, weights), -(gains @ boltzmann(gains, weights))

    bounds = [(0, None)] * gains.shape[0]
    return minimize(with_slope, np.zeros(gains.shape[0]), jac=True, method="L-BFGS-B", bounds=bounds).x
