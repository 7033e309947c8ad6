"""Correlated equilibria: joint distributions from which no player gains by deviating (Aumann 1974).

In a correlated equilibrium (CE) no player who is recommended a gains by playing a' instead. In a coarse correlated
equilibrium (CCE, Moulin and Vial 1978) none gains by always playing a'. Both are linear conditions on the joint
distribution:

    CE   sum over others of p(a, others) (u(a', others) - u(a, others)) <= 0   for all players, a, a'
    CCE  the sum of these over a                                        <= 0   for all players, a'

A linear objective therefore gives a linear programme (HiGHS, sparse), maximum entropy a conic programme, and maximum
Gini impurity a quadratic one (both in `selection.py`).
"""

from typing import Any

import numpy as np

from marl_engine.numerics.checks import check_distributions
from solvers.normal_form.regrets import in_range, subtract_least
from solvers.normal_form.selection import max_entropy, max_gini

METHODS = {"ce": "highs-ds", "cce": "highs-ipm"}  # the faster method for many sparse conditions, and for few dense ones
EXACT = 1e-10  # tolerance of HiGHS


def deviations(payoffs: np.ndarray, joint: np.ndarray, player: int) -> np.ndarray:
    """Returns what a player gains (its A, its A) by playing a' whenever a is recommended.

    The gain is multiplied by the probability of a.
    """
    own = np.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
    earns = np.moveaxis(subtract_least(payoffs)[player], player, 0).reshape(own.shape)
    gains = own @ earns.T
    return gains - np.diag(gains)[:, None]


def ce_regrets(payoffs: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Returns the gain of each player (P,) by the best replacement of each action: 0 in a CE, otherwise positive."""
    check_joint(payoffs, joint)
    return np.array([deviations(payoffs, joint, player).max(1).sum() for player in range(len(payoffs))])


def cce_regrets(payoffs: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Returns what each player gains (P,) by the best constant action; at most 0 in a CCE."""
    check_joint(payoffs, joint)
    return np.array([deviations(payoffs, joint, player).sum(0).max() for player in range(len(payoffs))])


def check_joint(payoffs: np.ndarray, joint: np.ndarray) -> None:
    """Raises ValueError unless `joint` (A, B, …) is a distribution over the joint actions of payoffs."""
    if np.shape(joint) != np.shape(payoffs)[1:]:
        raise ValueError(f"joint must be chances of shape {np.shape(payoffs)[1:]}, not {np.shape(joint)}")
    check_distributions("joint", np.ravel(joint))


def conditions(payoffs: np.ndarray, kind: str) -> Any:
    """Returns gains (C, N) whose expectations must not be positive, as a sparse matrix over N joint actions.

    Raises ValueError.
    """
    from scipy.sparse import vstack

    if kind not in METHODS:
        raise ValueError(f"a correlated equilibrium is one of {', '.join(METHODS)}, not {kind!r}")
    build = swap_gains if kind == "ce" else constant_gains
    return vstack([build(payoffs, player) for player in range(len(payoffs))]).tocsr()


def swap_gains(payoffs: np.ndarray, player: int) -> Any:
    """Returns sparse rows (A (A - 1), N), one for each pair a, a': a player's gain by playing a' when told a."""
    from scipy.sparse import csr_array

    earns = np.moveaxis(payoffs[player], player, 0)
    actions = len(earns)
    earns = earns.reshape(actions, -1)
    places = np.moveaxis(np.arange(payoffs[0].size).reshape(payoffs.shape[1:]), player, 0).reshape(earns.shape)
    gain = earns[None, :, :] - earns[:, None, :]  # (recommended, instead, others)
    where = np.broadcast_to(places[:, None, :], gain.shape)
    different = ~np.eye(actions, dtype=bool)
    data, columns = gain[different], where[different]
    ends = np.arange(len(data) + 1) * data.shape[1]
    return csr_array((data.ravel(), columns.ravel(), ends), shape=(len(data), payoffs[0].size))


def constant_gains(payoffs: np.ndarray, player: int) -> Any:
    """Returns sparse rows (A, N) for each a' of a player: its gain by always playing a'."""
    from scipy.sparse import csr_array

    earns = payoffs[player]
    gain = np.expand_dims(np.moveaxis(earns, player, 0), player + 1) - earns
    return csr_array(gain.reshape(len(gain), -1))


def correlated_equilibrium(payoffs: np.ndarray, kind: str = "ce", objective: np.ndarray | None = None) -> np.ndarray:
    """Returns the joint distribution (A, B, …) of a "ce" or "cce" that maximises an objective (A, B, …).

    The default objective is the sum of all payoffs. Raises ValueError for an unknown kind and an invalid objective, and
    RuntimeError if HiGHS fails, although an equilibrium always exists.
    """
    from scipy.optimize import linprog

    gains = conditions(in_range(payoffs), kind)
    joint = np.shape(payoffs)[1:]
    if objective is not None and np.shape(objective) != joint:
        raise ValueError(f"the objective must have the shape of the joint actions, {joint}, not {np.shape(objective)}")
    worth = in_range(np.reshape(subtract_least(payoffs).sum(0) if objective is None else objective, (1, -1)))[0]
    solution = linprog(
        -worth,
        A_ub=gains,
        b_ub=np.zeros(gains.shape[0]),
        A_eq=np.ones((1, len(worth))),
        b_eq=[1.0],
        method=METHODS[kind],
        options={"primal_feasibility_tolerance": EXACT, "dual_feasibility_tolerance": EXACT},
    )
    if solution.x is None:
        raise RuntimeError(f"HiGHS found no correlated equilibrium: {solution.message}")
    chances = np.maximum(solution.x, 0)
    return (chances / chances.sum()).reshape(joint)


def max_entropy_correlated(payoffs: np.ndarray, kind: str = "ce") -> np.ndarray:
    """Returns the "ce" or "cce" (A, B, …) with the largest entropy. Raises ValueError."""
    return max_entropy(conditions(in_range(payoffs), kind)).reshape(np.shape(payoffs)[1:])


def max_gini_correlated(payoffs: np.ndarray, kind: str = "ce") -> np.ndarray:
    """Returns the "ce" or "cce" (A, B, …) with the largest Gini impurity, 1 - sum of squares. Raises ValueError."""
    return max_gini(conditions(in_range(payoffs), kind)).reshape(np.shape(payoffs)[1:])
