"""Nash equilibria of games in normal form, by several methods whose results are measured.

Two-player games with constant sum: linear programming with QuantEcon's simplex method, and with HiGHS if that leaves a
gap. Other games: a sequence of methods. Each result is measured by the gains of best responses. The first one that is
good enough is returned, otherwise the best. All methods have bounded running time, so there is always a result.

    1. pure equilibria, by comparing payoffs
    2. two players: Lemke and Howson (1964), from several initial labels (QuantEcon)
    3. the end of the logit path (`logit.py`), then of paths for slightly perturbed payoffs if the path is lost
    4. averages of regret matching and of projected replicator dynamics (`dynamics.py`)

The supports found in this way are solved again by Newton's method, to the last digits (`supports.py`).
"""

from collections.abc import Iterator

import numpy as np

from solvers.normal_form.dynamics import projected_replicator, regret_matching
from solvers.normal_form.logit import logit_limit
from solvers.normal_form.regrets import Strategies, in_range, regrets, uniform_strategies
from solvers.normal_form.supports import pure_equilibrium, refine

TOLERANCE = 1e-9  # regret of an equilibrium, relative to a player's payoff range
SHORT, LABELS = 10, 16  # pivots from every label; labels that are followed to the end
WORK = 3e9  # approximate limit on operations of one method
PERTURBATIONS = (1e-6, 1e-4, 1e-2)  # perturbations of payoffs if the logit path is lost


def zero_sum(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns max-min strategies (A,) and (B,) of a zero-sum game.

    The row player earns payoff (A, B), the column player its negative.
    """
    return max_min(1 + in_range(np.stack([payoff, payoff]))[0])


def max_min(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns max-min strategies for payoff (A, B) between 1 and 2."""
    from quantecon.optimize import minmax

    _, row, column = minmax(payoff)
    if gap(payoff, row, column) <= TOLERANCE:
        return row, column
    return min([(row, column), solve_by_highs(payoff)], key=lambda pair: gap(payoff, *pair))


def gap(payoff: np.ndarray, row: np.ndarray, column: np.ndarray) -> float:
    """Returns max of M y minus min of x M: the sum of the gains of best responses."""
    return float((payoff @ column).max() - (row @ payoff).min())


def solve_by_highs(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns max-min strategies for positive payoff (A, B), by HiGHS.

    min sum u with u payoff >= 1; the duals are the other player's strategy.
    """
    from scipy.optimize import linprog

    solution = linprog(np.ones(len(payoff)), -payoff.T, -np.ones(payoff.shape[1]), method="highs")
    if solution.x is None:
        return tuple(uniform_strategies(np.stack([payoff, -payoff])))  # type: ignore[return-value]
    sides = np.maximum(solution.x, 0), np.maximum(-solution.ineqlin.marginals, 0)
    return sides[0] / sides[0].sum(), sides[1] / sides[1].sum()


def is_constant_sum(payoffs: np.ndarray) -> bool:
    """Whether one of two players wins what the other loses. Payoffs (2, A, B) are scaled as by `in_range`."""
    return len(payoffs) == 2 and float(np.ptp(payoffs.sum(0))) < 1e-12


def nash(payoffs: np.ndarray, tolerance: float = TOLERANCE) -> Strategies:
    """Returns an equilibrium of payoffs (P, A, B, …), or the strategies with the smallest regret that any method found.

    The regret is the largest over players, in units of each player's payoff range. Raises ValueError for payoffs with
    another shape or that are not finite.
    """
    payoffs = in_range(payoffs)
    best, least = uniform_strategies(payoffs), np.inf
    for candidate in candidates(payoffs):
        regret = regrets(payoffs, candidate).max()
        if regret < least:
            best, least = candidate, regret
        if least <= tolerance:
            break
    return best


def candidates(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Yields candidates for equilibria of payoffs in [0, 1], fast and exact methods first."""
    if is_constant_sum(payoffs):
        yield list(max_min(1 + payoffs[0]))
    equilibrium = pure_equilibrium(payoffs)
    if equilibrium is not None:
        yield equilibrium
    methods = (
        (pivot_candidates, logit_candidates, average_candidates)
        if len(payoffs) == 2
        else (logit_candidates, average_candidates)
    )
    for method in methods:
        for each in method(payoffs):
            yield each
            yield refine(payoffs, each)


def pivot_candidates(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Yields results of Lemke-Howson: short paths first (Codenotti et al. 2008), then some labels to their end."""
    from quantecon.game_theory import NormalFormGame, Player, lemke_howson

    game, total = NormalFormGame((Player(payoffs[0]), Player(payoffs[1].T))), sum(payoffs.shape[1:])
    most = int(max(WORK / payoffs[0].size / LABELS, 4 * total))
    yield list(lemke_howson(game, max_iter=most, capping=SHORT))
    for first in np.unique(np.linspace(0, total - 1, LABELS).astype(int)):
        yield list(lemke_howson(game, init_pivot=int(first), max_iter=most))


def logit_candidates(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Yields the ends of logit paths, for the payoffs and for perturbed ones."""
    steps = int(np.clip(WORK / sum(payoffs.shape[1:]) ** 3, 10, 1_000))
    yield logit_limit(payoffs, steps)
    random = np.random.default_rng(0)
    for far in PERTURBATIONS:
        yield logit_limit(payoffs + far * random.random(payoffs.shape), steps)


def average_candidates(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Yields averages over time, which exist for every game."""
    steps = int(np.clip(WORK / payoffs.size, 100, 20_000))
    yield regret_matching(payoffs, steps)
    yield projected_replicator(payoffs, steps, step_size=0.1)
