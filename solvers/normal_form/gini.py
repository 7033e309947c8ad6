"""Maximum Gini impurity 1 - sum p^2 under linear conditions: p >= 0, sum p = 1, gains p <= 0.

Proposed by Marris et al. 2021 (arXiv:2106.09435, section 3) to select an equilibrium: it is unique, like that of
maximum entropy, but the solution of a quadratic programme (Clarabel, an interior-point method).
"""

from typing import Any

import numpy as np

from solvers.normal_form.entropy import EXACT, MAX_VIOLATION


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
    quadratic = csc_array(2 * eye_array(count))
    solution = clarabel.DefaultSolver(quadratic, np.zeros(count), rows, bound, cones, settings).solve()
    if "Infeasible" in str(solution.status):
        raise ValueError("no distribution meets the conditions")
    p = np.maximum(solution.x, 0)
    if not p.sum() > 0 or (gains @ p / p.sum()).max(initial=0.0) > MAX_VIOLATION:
        raise RuntimeError(f"the distribution with the largest Gini impurity was not found: {solution.status}")
    return p / p.sum()
