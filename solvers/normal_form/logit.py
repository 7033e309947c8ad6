"""Quantal response equilibria: all players respond to each other by a softmax with increasing precision.

At precision l all players play p(a) ~ exp(l u(a, others)) (McKelvey and Palfrey 1995). A path of solutions begins with
uniform p at l = 0; almost always it leads to one Nash equilibrium as l grows. The path may turn back in l. It is
followed along its length by predictor and corrector steps (Turocy 2005) in x = log p:

    x(a) - x(0) - l (u(a) - u(0)) = 0 for every action but the first,   log sum exp x = 0,   for each player

It departs from the source in the last equation (there sum exp x = 1), and in that strategies are exp x divided by its
sum, which lets Newton's method converge from further away. Payoffs are divided by the widest range of a player;
precisions are given in the game's own units.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from marl_engine.numerics.checks import check_number
from solvers.normal_form.regrets import Strategies, pair_values, regrets, scale_by_widest, values
from solvers.normal_form.supports import refine

CORRECTIONS = 3  # Newton steps before the path step is halved
CLOSE, CLOSEST = 1e-8, 1e-12  # residuals along the path, and at its end, relative to a point's largest number
SHARPEST = 1e9  # precision at which the path ends
FARTHEST = 0.3  # largest correction, relative to the step
SHORTEST = 1e-7  # shortest step
END = 1e-7  # regret, relative to payoff ranges


class Point(NamedTuple):
    """A quantal response equilibrium: the precision l and the strategies."""

    precision: float
    strategies: Strategies


class ScaledGame(NamedTuple):
    """Payoffs (P, A, B, …) in [0, 1], and the index where the D actions of each player begin."""

    payoffs: np.ndarray
    first: np.ndarray  # (P + 1,)
    unit: float  # divisor of the game's own payoffs


def residual(game: ScaledGame, x: np.ndarray, precision: float) -> np.ndarray:
    """Returns the residuals (D,) of log-probabilities (D,); the first equation of each player is that of its sum."""
    result = np.empty_like(x)
    strategies = split_strategies(game, x)
    for player, (begin, end) in enumerate(zip(game.first[:-1], game.first[1:], strict=True)):
        value = values(game.payoffs, strategies, player)
        result[begin:end] = x[begin:end] - x[begin] - precision * (value - value[0])
        result[begin] = log_sum_exp(x[begin:end])
    return result


def slope(game: ScaledGame, x: np.ndarray, precision: float) -> np.ndarray:
    """Returns the derivative (D, D + 1) of the residual with respect to x and the precision."""
    strategies = split_strategies(game, x)
    jacobian = np.zeros((len(x), len(x) + 1))
    for player, (begin, end) in enumerate(zip(game.first[:-1], game.first[1:], strict=True)):
        own = slice(begin, end)
        for other, start in enumerate(game.first[:-1]):
            if other != player:
                by_chance = pair_values(game.payoffs, strategies, player, other) * strategies[other]
                by_chance -= by_chance.sum(1, keepdims=True) * strategies[other]  # because split normalises
                jacobian[own, start : game.first[other + 1]] = -precision * (by_chance - by_chance[0])
        value = values(game.payoffs, strategies, player)
        jacobian[own, own] += np.eye(end - begin)
        jacobian[own, begin] -= 1
        jacobian[own, -1] = value[0] - value
        jacobian[begin] = 0
        jacobian[begin, own] = np.exp(x[own] - log_sum_exp(x[own]))
    return jacobian


def log_sum_exp(x: np.ndarray) -> float:
    """Returns log sum exp x."""
    highest = x.max()
    return float(highest + np.log(np.exp(x - highest).sum()))


def split_strategies(game: ScaledGame, x: np.ndarray) -> Strategies:
    """Returns the distribution of each player from log-probabilities (D,)."""
    return [np.exp(part - log_sum_exp(part)) for part in np.split(x, game.first[1:-1])]


def direction(game: ScaledGame, point: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Returns the unit tangent (D + 1,) of the path at a point (D + 1,), oriented like the previous one."""
    rows = np.vstack([slope(game, point[:-1], point[-1]), before])
    tangent = solve_linear(rows, np.append(np.zeros(len(point) - 1), 1.0))
    return tangent / np.linalg.norm(tangent)


def solve_linear(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solves linear equations; returns the least-squares solution of least norm if the matrix is singular."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, right)[0]


def correct(game: ScaledGame, guess: np.ndarray, fixed: np.ndarray, close: float = CLOSE) -> np.ndarray | None:
    """Returns the solution (D + 1,) near a guess, in the plane through it with normal `fixed` (D + 1,); or None."""
    point = guess
    for left in range(CORRECTIONS, -1, -1):
        error = np.append(residual(game, point[:-1], point[-1]), fixed @ (point - guess))
        if not np.isfinite(error).all():
            return None
        if np.abs(error).max() < close * max(1.0, np.abs(point).max()):
            return point
        if left:
            point = point - solve_linear(np.vstack([slope(game, point[:-1], point[-1]), fixed]), error)
    return None


def scale_game(payoffs: np.ndarray) -> ScaledGame:
    """Returns payoffs (P, A, B, …), scaled to [0, 1], as a game. Raises ValueError for invalid payoffs."""
    payoffs, unit = scale_by_widest(payoffs)
    return ScaledGame(payoffs, np.concatenate([[0], np.cumsum(payoffs.shape[1:])]), unit)


def follow_path(game: ScaledGame, steps: int) -> Iterator[np.ndarray]:
    """Yields points (D + 1,) of the path, log-probabilities and precision, as long as it can be followed."""
    counts = np.diff(game.first)
    point = np.append(np.repeat(-np.log(counts), counts), 0.0)
    tangent, step = np.eye(len(point))[-1], 0.1
    for _ in range(steps):
        yield point
        tangent = direction(game, point, tangent)
        corrected = None
        while corrected is None and step > SHORTEST:
            guess = point + step * tangent
            corrected = correct(game, guess, tangent)
            if corrected is not None and np.linalg.norm(corrected - guess) > FARTHEST * step:
                corrected = None
            step *= 0.5 if corrected is None else 1.5
        if corrected is None or not 0 <= corrected[-1] <= SHARPEST:
            return
        point = corrected


def logit_path(payoffs: np.ndarray, steps: int = 500) -> Iterator[Point]:
    """Yields at most `steps` points of the path for payoffs (P, A, B, …), starting at uniform strategies.

    Straight parts of the path have few points.
    """
    game = scale_game(payoffs)
    for point in follow_path(game, steps):
        yield Point(float(point[-1]) / game.unit, split_strategies(game, point[:-1]))


def logit_equilibrium(payoffs: np.ndarray, precision: float, steps: int = 2_000) -> Strategies:
    """Returns the quantal response equilibrium at a precision l, the first on the path.

    Raises ValueError for a negative precision, and RuntimeError if the path does not reach it within `steps` steps or
    Newton's method does not converge there.
    """
    check_number("precision", precision, least=0)
    game = scale_game(payoffs)
    sharpness, before = precision * game.unit, None
    for point in follow_path(game, steps):
        if point[-1] >= sharpness:
            share = 1.0 if before is None else (sharpness - before[-1]) / (point[-1] - before[-1])
            guess = point if before is None else before + share * (point - before)
            solution = correct(game, np.append(guess[:-1], sharpness), np.eye(len(guess))[-1], CLOSEST)
            if solution is None:
                raise RuntimeError(
                    f"the logit path passes precision {precision}, but Newton's method does not converge"
                )
            return split_strategies(game, solution[:-1])
        before = point
    raise RuntimeError(f"the logit path could not be followed to precision {precision} in {steps} steps")


def logit_limit(payoffs: np.ndarray, steps: int = 2_000) -> Strategies:
    """Returns the equilibrium to which the path leads: its support is solved exactly once regret is below END.

    Returns the last point itself if the exact solution is not near it or not better. Raises ValueError for invalid
    payoffs.
    """
    check_number("steps", steps, least=1, whole=True)
    game = scale_game(payoffs)
    for point in follow_path(game, steps):
        strategies = split_strategies(game, point[:-1])
        if regrets(game.payoffs, strategies).max() < END:
            break
    exact = refine(game.payoffs, strategies)
    near = max(np.abs(one - other).max() for one, other in zip(exact, strategies, strict=True)) < 1e-2
    better = regrets(game.payoffs, exact).max() <= regrets(game.payoffs, strategies).max()
    return exact if near and better else strategies
