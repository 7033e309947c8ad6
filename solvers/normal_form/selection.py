"""The most even distribution under linear conditions p >= 0, sum p = 1, gains p <= 0, to select one equilibrium.

Maximum entropy: Ortiz, Schapire and Kakade 2007. The sum of t is maximised with p exp(t / p) <= 1, that is t <= -p log
p, for each entry of p, a conic programme. Maximum Gini impurity 1 - sum p^2: Marris et al. 2021 (arXiv:2106.09435,
section 3), a quadratic programme. Both have a unique solution. Clarabel solves both by an interior-point method.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

EXACT = 1e-11  # tolerance of the solver, for gains of about 1
MAX_VIOLATION = 1e-6  # largest accepted violation of a condition


def max_entropy(gains: Any) -> np.ndarray:
    """Returns the distribution (N,) with the largest entropy among those with gains (C, N) p <= 0; dense or sparse.

    Raises ValueError if there is none, and RuntimeError if the solver fails.
    """
    import clarabel
    from scipy.sparse import csc_array

    rows, bound = conic_programme(gains)
    conditions, count = gains.shape
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(conditions), *[clarabel.ExponentialConeT()] * count]
    linear = np.concatenate([np.zeros(count), -np.ones(count)])
    return solve_programme(gains, csc_array((2 * count, 2 * count)), linear, rows, bound, cones)


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
    return solve_programme(gains, csc_array(2 * eye_array(count)), np.zeros(count), rows, bound, cones)


def solve_programme(
    gains: Any, quadratic: Any, linear: np.ndarray, rows: Any, bound: np.ndarray, cones: Sequence[Any]
) -> np.ndarray:
    """Returns the distribution (N,) that are the first N numbers x of the solution.

    The solution minimises x quadratic x / 2 + linear x, with bound - rows x in the cones. Raises ValueError if there is
    none, and RuntimeError if the solver fails.
    """
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = EXACT
    solution = clarabel.DefaultSolver(quadratic, linear, rows, bound, cones, settings).solve()
    if "Infeasible" in str(solution.status):
        raise ValueError("no distribution meets the conditions")
    p = np.maximum(solution.x[: gains.shape[1]], 0)
    if not p.sum() > 0 or (gains @ p / p.sum()).max(initial=0.0) > MAX_VIOLATION:
        raise RuntimeError(f"the most even distribution was not found: {solution.status}")
    return p / p.sum()


def conic_programme(gains: Any) -> tuple[Any, np.ndarray]:
    """Returns rows (1 + C + 3N, 2N) and bounds of the conic programme.

    bound - rows (p, t) is in these cones: zero, nonnegative, and exponential (t, p, 1) for each entry.
    """
    from scipy.sparse import block_array, csr_array, eye_array, kron

    conditions, count = gains.shape
    each = eye_array(count)
    rows = block_array(
        [
            [csr_array(np.ones((1, count))), None],
            [csr_array(gains), None],
            [kron(each, [[0.0], [-1.0], [0.0]]), kron(each, [[-1.0], [0.0], [0.0]])],
        ],
        format="csc",
    )
    return rows, np.concatenate([[1.0], np.zeros(conditions), np.tile([0.0, 0.0, 1.0], count)])
