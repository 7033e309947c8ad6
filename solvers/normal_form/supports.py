"""Equilibria from their supports: pure ones by comparing payoffs, mixed ones by Newton's method.

Given its supports, an equilibrium solves u_p(a, others) = v_p for all a in the support of p, and the probabilities of p
sum to 1. The equations are linear for two players and polynomial for more.
"""

from collections.abc import Sequence

import numpy as np

from solvers.normal_form.regrets import Strategies, pair_values, values

PLAYED = 1e-6  # smaller probabilities count as zero
STEPS = 30  # Newton steps
ASTRAY = 10.0  # larger steps mean divergence


def pure(payoffs: np.ndarray) -> Strategies | None:
    """Returns the pure equilibrium of payoffs (P, A, B, …) with the largest sum of payoffs; None if there is
    none.
    """
    best = np.ones(payoffs.shape[1:], bool)
    for player, earns in enumerate(payoffs):
        best &= earns >= earns.max(player, keepdims=True)
    if not best.any():
        return None
    found = np.unravel_index(np.where(best, payoffs.sum(0), -np.inf).argmax(), best.shape)
    return [np.eye(best.shape[player])[action] for player, action in enumerate(found)]


def refined(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> Strategies:
    """Returns strategies near the given ones, with the same supports, for which all actions in a support are equally
    good.

    Newton's method is used, and negative probabilities are cut off. The caller must measure whether the result is an
    equilibrium.
    """
    supports = [np.flatnonzero(own > PLAYED * own.max()) for own in strategies]
    inside = payoffs[np.ix_(np.arange(len(payoffs)), *supports)]
    found = [own[support] / own[support].sum() for own, support in zip(strategies, supports, strict=True)]
    worth = np.array([own @ values(inside, found, player) for player, own in enumerate(found)])
    for _ in range(STEPS):
        residual, slope = indifference(inside, found, worth)
        step = np.linalg.lstsq(slope, residual)[0]
        if not np.abs(step).max() < ASTRAY:
            break
        worth = worth - step[-len(worth) :]
        parts = np.split(step[: -len(worth)], np.cumsum([len(own) for own in found])[:-1])
        found = [own - part for own, part in zip(found, parts, strict=True)]
        if np.abs(step).max() < 1e-14:
            break
    return [spread(own, support, len(whole)) for own, support, whole in zip(found, supports, strategies, strict=True)]


def spread(own: np.ndarray, support: np.ndarray, actions: int) -> np.ndarray:
    """Returns a distribution over all actions from numbers on a support; uniform there if none is positive."""
    own = np.maximum(np.nan_to_num(own), 0)
    whole = np.zeros(actions)
    whole[support] = own / own.sum() if own.sum() > 0 else 1 / len(own)
    return whole


def indifference(
    payoffs: np.ndarray, strategies: Sequence[np.ndarray], worth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the residual (D + P,) of the equations, for D probabilities and P values, and its derivative (D +
    P, D + P).
    """
    players, counts = len(payoffs), [len(own) for own in strategies]
    starts = np.concatenate([[0], np.cumsum(counts)])
    total = starts[-1]
    residual, slope = np.zeros(total + players), np.zeros((total + players, total + players))
    for player, own in enumerate(strategies):
        mine = slice(starts[player], starts[player + 1])
        residual[mine] = values(payoffs, strategies, player) - worth[player]
        residual[total + player] = own.sum() - 1
        slope[mine, total + player], slope[total + player, mine] = -1, 1
        for other in range(players):
            if other != player:
                theirs = slice(starts[other], starts[other + 1])
                slope[mine, theirs] = pair_values(payoffs, strategies, player, other)
    return residual, slope
