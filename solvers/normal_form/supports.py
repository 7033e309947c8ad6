"""Equilibria from their supports: pure ones by comparing payoffs, mixed ones by Newton's method.

Given its supports, an equilibrium solves u_p(a, others) = v_p for all a in the support of p, and the probabilities of p
sum to 1. The equations are linear for two players and polynomial for more.
"""

from collections.abc import Sequence

import numpy as np

from solvers.normal_form.regrets import Strategies, pair_values, values

SUPPORT = 1e-6  # smaller probabilities count as zero
STEPS = 30  # Newton steps
DIVERGED = 10.0  # larger steps mean divergence


def pure_equilibrium(payoffs: np.ndarray) -> Strategies | None:
    """Returns the pure equilibrium of payoffs (P, A, B, …) with the largest sum of payoffs.

    Returns None if there is none.
    """
    best = np.ones(payoffs.shape[1:], bool)
    for player, earns in enumerate(payoffs):
        best &= earns >= earns.max(player, keepdims=True)
    if not best.any():
        return None
    actions = np.unravel_index(np.where(best, payoffs.sum(0), -np.inf).argmax(), best.shape)
    return [np.eye(best.shape[player])[action] for player, action in enumerate(actions)]


def refine(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> Strategies:
    """Returns strategies near the given ones for which all actions in a support are equally good.

    Newton's method is used, and negative probabilities are cut off. The caller must measure whether the result is an
    equilibrium.
    """
    supports = [np.flatnonzero(own > SUPPORT * own.max()) for own in strategies]
    inside = payoffs[np.ix_(np.arange(len(payoffs)), *supports)]
    refined = [own[support] / own[support].sum() for own, support in zip(strategies, supports, strict=True)]
    worth = np.array([own @ values(inside, refined, player) for player, own in enumerate(refined)])
    for _ in range(STEPS):
        residual, slope = indifference(inside, refined, worth)
        step = np.linalg.lstsq(slope, residual)[0]
        if not np.abs(step).max() < DIVERGED:
            break
        worth = worth - step[-len(worth) :]
        parts = np.split(step[: -len(worth)], np.cumsum([len(own) for own in refined])[:-1])
        refined = [own - part for own, part in zip(refined, parts, strict=True)]
        if np.abs(step).max() < 1e-14:
            break
    return [
        spread(own, support, len(strategy))
        for own, support, strategy in zip(refined, supports, strategies, strict=True)
    ]


def spread(own: np.ndarray, support: np.ndarray, actions: int) -> np.ndarray:
    """Returns a distribution over all actions from numbers on a support; uniform there if none is positive."""
    own = np.maximum(np.nan_to_num(own), 0)
    distribution = np.zeros(actions)
    distribution[support] = own / own.sum() if own.sum() > 0 else 1 / len(own)
    return distribution


def indifference(
    payoffs: np.ndarray, strategies: Sequence[np.ndarray], worth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the residual (D + P,) of the equations and its derivative (D + P, D + P).

    D is the number of probabilities, P that of values.
    """
    players, counts = len(payoffs), [len(own) for own in strategies]
    starts = np.concatenate([[0], np.cumsum(counts)])
    total = starts[-1]
    residual, slope = np.zeros(total + players), np.zeros((total + players, total + players))
    for player, own in enumerate(strategies):
        rows = slice(starts[player], starts[player + 1])
        residual[rows] = values(payoffs, strategies, player) - worth[player]
        residual[total + player] = own.sum() - 1
        slope[rows, total + player], slope[total + player, rows] = -1, 1
        for other in range(players):
            if other != player:
                columns = slice(starts[other], starts[other + 1])
                slope[rows, columns] = pair_values(payoffs, strategies, player, other)
    return residual, slope
