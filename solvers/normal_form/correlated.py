"""Correlated equilibria: a joint distribution such that nobody gains by not doing as told (Aumann 1974).

In a correlated equilibrium (CE) no player, told to play a, gains by playing a' instead; in a coarse one (CCE, Moulin
and Vial 1978) none gains by playing a' without having been told. Both are linear conditions on the joint distribution:

    CE   sum over others of p(a, others) (u(a', others) - u(a, others)) <= 0   for all players, a, a'
    CCE  the sum of these over a                                        <= 0   for all players, a'

so that any linear objective is a linear programme (HiGHS, sparse), and the one of largest entropy a conic
one (`entropy.py`).
"""

from typing import Any

import numpy as np

from marl_engine.numerics.checks import check_distributions
from solvers.normal_form.entropy import most_even
from solvers.normal_form.regrets import in_range, subtract_least

METHODS = {"ce": "highs-ds", "cce": "highs-ipm"}  # many sparse conditions; few that are not sparse: the faster one
EXACT = 1e-10  # how far HiGHS may miss a condition


def deviations(payoffs: np.ndarray, joint: np.ndarray, player: int) -> np.ndarray:
    """What a player gains (its A, its A) by playing a' whenever told a, times the probability of being told a."""
    own = np.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
    earns = np.moveaxis(subtract_least(payoffs)[player], player, 0).reshape(own.shape)
    found = own @ earns.T
    return found - np.diag(found)[:, None]


def ce_regrets(payoffs: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """What each player gains (P,) by the best swap of each action for another; at most 0 in a CE, and there 0."""
    check_joint(payoffs, joint)
    return np.array([deviations(payoffs, joint, player).max(1).sum() for player in range(len(payoffs))])


def cce_regrets(payoffs: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """What each player gains (P,) by one action, whatever it was told; at most 0 in a CCE."""
    check_joint(payoffs, joint)
    return np.array([deviations(payoffs, joint, player).sum(0).max() for player in range(len(payoffs))])


def check_joint(payoffs: np.ndarray, joint: np.ndarray) -> None:
    """Raises ValueError unless an array (A, B, …) is a distribution over the joint actions of a game (P, A, B, …)."""
    if np.shape(joint) != np.shape(payoffs)[1:]:
        raise ValueError(f"joint must be chances of shape {np.shape(payoffs)[1:]}, not {np.shape(joint)}")
    check_distributions("joint", np.ravel(joint))


def conditions(payoffs: np.ndarray, kind: str) -> Any:
    """The gains (C, N) whose mean must not be above 0, a sparse matrix over the N joint actions. Raises ValueError."""
    from scipy.sparse import vstack

    if kind not in METHODS:
        raise ValueError(f"a correlated equilibrium is one of {', '.join(METHODS)}, not {kind!r}")
    build = swaps if kind == "ce" else switches
    return vstack([build(payoffs, player) for player in range(len(payoffs))]).tocsr()


def swaps(payoffs: np.ndarray, player: int) -> Any:
    """Sparse rows (A (A - 1), N) for each a and a' of a player: what it gains by playing a' when told a."""
    from scipy.sparse import csr_array

    earns = np.moveaxis(payoffs[player], player, 0)
    actions = len(earns)
    earns = earns.reshape(actions, -1)
    places = np.moveaxis(np.arange(payoffs[0].size).reshape(payoffs.shape[1:]), player, 0).reshape(earns.shape)
    gain = earns[None, :, :] - earns[:, None, :]  # (told, instead, others)
    where = np.broadcast_to(places[:, None, :], gain.shape)
    different = ~np.eye(actions, dtype=bool)
    data, columns = gain[different], where[different]
    ends = np.arange(len(data) + 1) * data.shape[1]
    return csr_array((data.ravel(), columns.ravel(), ends), shape=(len(data), payoffs[0].size))


def switches(payoffs: np.ndarray, player: int) -> Any:
    """Sparse rows (A, N) for each a' of a player: what it gains by playing a' whatever it is told."""
    from scipy.sparse import csr_array

    earns = payoffs[player]
    gain = np.expand_dims(np.moveaxis(earns, player, 0), player + 1) - earns
    return csr_array(gain.reshape(len(gain), -1))


def correlated(payoffs: np.ndarray, kind: str = "ce", objective: np.ndarray | None = None) -> np.ndarray:
    """The joint distribution (A, B, …) of a "ce" or "cce" with the largest mean of an objective (A, B, …).

    Without one, of the sum of what all players earn. Raises ValueError for an unknown kind and an objective of another
    shape or that is not finite, and RuntimeError if HiGHS finds nothing, though there always is an equilibrium.
    """
    from scipy.optimize import linprog

    gains = conditions(in_range(payoffs), kind)
    joint = np.shape(payoffs)[1:]
    if objective is not None and np.shape(objective) != joint:
        raise ValueError(f"the objective must have the shape of the joint actions, {joint}, not {np.shape(objective)}")
    worth = in_range(np.reshape(subtract_least(payoffs).sum(0) if objective is None else objective, (1, -1)))[0]
    found = linprog(
        -worth,
        A_ub=gains,
        b_ub=np.zeros(gains.shape[0]),
        A_eq=np.ones((1, len(worth))),
        b_eq=[1.0],
        method=METHODS[kind],
        options={"primal_feasibility_tolerance": EXACT, "dual_feasibility_tolerance": EXACT},
    )
    if found.x is None:
        raise RuntimeError(f"HiGHS found no correlated equilibrium: {found.message}")
    chances = np.maximum(found.x, 0)
    return (chances / chances.sum()).reshape(joint)


def most_even_correlated(payoffs: np.ndarray, kind: str = "ce") -> np.ndarray:
    """The joint distribution (A, B, …) with the largest entropy among all "ce" or "cce". Raises ValueError."""
    return most_even(conditions(in_range(payoffs), kind)).reshape(np.shape(payoffs)[1:])
