"""The most even distribution under linear conditions p >= 0, sum p = 1, gains p <= 0, to select one equilibrium.

Maximum entropy: Ortiz, Schapire and Kakade 2007. Its dual has a multiplier l >= 0 for each condition, and minimises the
convex function

    log sum_i exp(-(l gains)_i) + slack sum l,        p_i proportional to exp(-(l gains)_i)

The slack lets gains p be a little above 0. Equilibria of zero-sum games, among others, have no interior, and without a
slack the multipliers would have no bound. The dual is minimised by Newton's method with a logarithmic barrier, whose
weight is added to the slack and decreases, so that every step of the path is well conditioned.

Maximum Gini impurity 1 - sum p^2: Marris et al. 2021 (arXiv:2106.09435, section 3), a quadratic programme, which
Clarabel solves by an interior-point method. Both have a unique solution.
"""

from typing import Any

import numpy as np

EXACT = 1e-11  # tolerance of Clarabel, for gains of about 1
MAX_VIOLATION = 1e-6  # largest accepted violation of a condition
SLACK = 1e-11  # of the conditions, in the dual of maximum entropy
SMALLEST = 1e-13  # last weight of the barrier
CENTRED = 1e-13  # smallest Newton decrement that is asked for
NEWTON_STEPS = 150  # at most
FULL = 0.1  # a matrix with a larger share of numbers other than 0 is kept dense
RIDGE = 1e-15  # first addition to a diagonal of 1, where rounding errors make a Hessian indefinite
TO_BOUNDARY = 0.99  # largest part of the way to the boundary in a step


def max_entropy(gains: Any) -> np.ndarray:
    """Returns the distribution (N,) with the largest entropy among those with gains (C, N) p <= 0; dense or sparse.

    Raises ValueError if there is none, and RuntimeError if a condition is violated by more than MAX_VIOLATION.
    """
    from scipy.sparse import csr_array
    from scipy.special import softmax

    if not gains.shape[0]:
        return np.full(gains.shape[1], 1 / gains.shape[1])
    rows: Any = csr_array(gains)
    if rows.nnz > FULL * rows.shape[0] * rows.shape[1]:
        rows = rows.toarray()
    p: np.ndarray = softmax(-(rows.T @ minimise_dual(rows)))
    violation = (rows @ p).max()
    if violation > MAX_VIOLATION:
        raise RuntimeError(f"the most even distribution was not found: a condition is violated by {violation:.2g}")
    return p


def minimise_dual(rows: Any) -> np.ndarray:
    """Returns the multipliers (C,) of maximum entropy for gains (C, N). Raises ValueError if nothing meets them.

    Primal-dual steps: `room` (C,) stands for what the conditions leave, slack - gains p, and its products with the
    multipliers go to the weight of the barrier. A step is taken as far as the dual with the barrier decreases.
    """
    from scipy.special import softmax

    multipliers, room, weight = np.ones(rows.shape[0]), np.ones(rows.shape[0]), 1.0
    for _ in range(NEWTON_STEPS):
        if dual_value(rows, multipliers) < -MAX_VIOLATION:  # an upper bound of the entropy, which is not negative
            raise ValueError("no distribution meets the conditions")
        p = softmax(-(rows.T @ multipliers))
        expected = rows @ p
        gradient = SLACK + weight - expected - weight / multipliers
        hessian = weighted_square(rows, p) - np.outer(expected, expected)
        step = -solve_positive(hessian + np.diag(room / multipliers), gradient)
        room_step = weight / multipliers - room - room / multipliers * step
        slope = float(gradient @ step)
        multipliers = multipliers + descend(rows, multipliers, weight, step, slope) * step
        room = room + length_inside(room, room_step) * room_step
        if -slope < max(weight / 10, CENTRED):
            if weight <= SMALLEST and expected.max() <= 2 * SLACK:
                break
            weight = max(min(weight / 10, weight**1.5), SMALLEST)
    return multipliers


def dual_value(rows: Any, multipliers: np.ndarray, weight: float = 0.0) -> float:
    """Returns the dual of maximum entropy, with a barrier of some weight, which is also added to the slack."""
    from scipy.special import logsumexp

    value = logsumexp(-(rows.T @ multipliers)) + (SLACK + weight) * multipliers.sum()
    return float(value - weight * np.log(multipliers).sum())


def descend(rows: Any, multipliers: np.ndarray, weight: float, step: np.ndarray, slope: float) -> float:
    """Returns how much of a step is taken: half as much until the dual decreases enough (Armijo), or 0."""
    start, length = dual_value(rows, multipliers, weight), length_inside(multipliers, step)
    rounding = 1e-13 * abs(start)
    while dual_value(rows, multipliers + length * step, weight) > start + 1e-4 * length * slope + rounding:
        length /= 2
        if length < SMALLEST:
            return 0.0
    return length


def length_inside(numbers: np.ndarray, step: np.ndarray) -> float:
    """Returns how much of a step, at most 1, keeps positive numbers positive."""
    falls = step < 0
    return min(1.0, TO_BOUNDARY * float((-numbers[falls] / step[falls]).min(initial=np.inf)))


def weighted_square(rows: Any, p: np.ndarray) -> np.ndarray:
    """Returns rows diag(p) rows' (C, C), dense."""
    if isinstance(rows, np.ndarray):
        return (rows * p) @ rows.T
    square: np.ndarray = (rows.multiply(p) @ rows.T).toarray()
    return square


def solve_positive(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the solution of positive definite equations, whose diagonal is scaled to 1 and, if need be, enlarged."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    units, ridge = matrix.diagonal() ** 0.5, 0.0
    scaled = matrix / units[:, None] / units
    while True:
        try:
            solution: np.ndarray = cho_solve(cho_factor(scaled + ridge * np.eye(len(units))), right / units) / units
            return solution
        except LinAlgError:
            ridge = max(100 * ridge, RIDGE)


def max_gini(gains: Any) -> np.ndarray:
    """Returns the distribution (N,) with the largest Gini impurity among those with gains (C, N) p <= 0.

    Raises ValueError if there is none, and RuntimeError if the solver fails.
    """
    import clarabel
    from scipy.sparse import csc_array, csr_array, eye_array, vstack

    conditions, count = gains.shape
    rows = vstack([csr_array(np.ones((1, count))), csr_array(gains), -eye_array(count)]).tocsc()
    bound = np.concatenate([[1.0], np.zeros(conditions + count)])
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(conditions + count)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = EXACT
    squares = csc_array(2 * eye_array(count))
    solution = clarabel.DefaultSolver(squares, np.zeros(count), rows, bound, cones, settings).solve()
    if "Infeasible" in str(solution.status):
        raise ValueError("no distribution meets the conditions")
    p = np.maximum(solution.x, 0)
    if not p.sum() > 0 or (gains @ p / p.sum()).max(initial=0.0) > MAX_VIOLATION:
        raise RuntimeError(f"the most even distribution was not found: {solution.status}")
    return p / p.sum()
