"""Nash equilibria of games in normal form: whatever finds one, and a measure of whether it is one.

Two players whose payoffs sum to a constant: linear programming, by QuantEcon's simplex method, and where that left a
gap by HiGHS. All others: a chain of methods, each answer measured by what players would gain by best responses; the
first that is good enough is taken, else the best of all. No method is trusted and none is waited for: all have bounds,
so that an answer always comes.

1. pure equilibria, by comparing
2. two players: Lemke and Howson (1964), from several first labels (QuantEcon)
3. the end of the logit path (`logit.py`), then of paths of payoffs moved a little, for those that are lost on the way
4. averages of regret matching and of projected replicator dynamics (`dynamics.py`)

Supports that are found so are solved once more by Newton's method, to the last digits (`supports.py`).
"""

from collections.abc import Iterator

import numpy as np

from solvers.normal_form.dynamics import projected_replicator, regret_matching
from solvers.normal_form.logit import logit_limit
from solvers.normal_form.regrets import Strategies, in_range, nash_conv, regrets, uniform
from solvers.normal_form.supports import pure, refined

__all__ = ["constant_sum", "nash", "nash_conv", "regrets", "zero_sum"]

TOLERANCE = 1e-9  # regret of an equilibrium, in ranges of a player's payoffs
SHORT, LABELS = 10, 16  # pivots from every label; labels from which the way is gone to its end
WORK = 3e9  # operations that one method may take, about
MOVED = (1e-6, 1e-4, 1e-2)  # how far payoffs are moved where the logit path was lost


def zero_sum(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Max-min strategies (A,) and (B,) where the row player earns payoff (A, B) and the column player its negative."""
    return max_min(1 + in_range(np.stack([payoff, payoff]))[0])


def max_min(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for payoff (A, B) from 1 to 2."""
    from quantecon.optimize import minmax

    _, row, column = minmax(payoff)
    if gap(payoff, row, column) <= TOLERANCE:
        return row, column
    return min([(row, column), by_highs(payoff)], key=lambda pair: gap(payoff, *pair))


def gap(payoff: np.ndarray, row: np.ndarray, column: np.ndarray) -> float:
    """max of M y less min of x M: what both players gain by best responses."""
    return float((payoff @ column).max() - (row @ payoff).min())


def by_highs(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for payoff (A, B) above 0: min sum u, u payoff >= 1, whose duals are the other side."""
    from scipy.optimize import linprog

    found = linprog(np.ones(len(payoff)), -payoff.T, -np.ones(payoff.shape[1]), method="highs")
    if found.x is None:
        return tuple(uniform(np.stack([payoff, -payoff])))  # type: ignore[return-value]
    sides = np.maximum(found.x, 0), np.maximum(-found.ineqlin.marginals, 0)
    return sides[0] / sides[0].sum(), sides[1] / sides[1].sum()


def constant_sum(payoffs: np.ndarray) -> bool:
    """Whether what one of two players wins the other loses; payoffs (2, A, B) in ranges, see `in_range`."""
    return len(payoffs) == 2 and float(np.ptp(payoffs.sum(0))) < 1e-12


def nash(payoffs: np.ndarray, tolerance: float = TOLERANCE) -> Strategies:
    """One equilibrium of payoffs (P, A, B, …), or the strategies with the least regret that any method found.

    The regret is the largest of a player, in ranges of that player's payoffs. Raises ValueError for payoffs that are
    not finite or not of that shape.
    """
    payoffs = in_range(payoffs)
    best, least = uniform(payoffs), np.inf
    for candidate in candidates(payoffs):
        regret = regrets(payoffs, candidate).max()
        if regret < least:
            best, least = candidate, regret
        if least <= tolerance:
            break
    return best


def candidates(payoffs: np.ndarray) -> Iterator[Strategies]:
    """What may be an equilibrium of payoffs in [0, 1], what is quick and exact first."""
    if constant_sum(payoffs):
        yield list(max_min(1 + payoffs[0]))
    found = pure(payoffs)
    if found is not None:
        yield found
    methods = (by_pivots, by_logit, by_dynamics) if len(payoffs) == 2 else (by_logit, by_dynamics)
    for method in methods:
        for each in method(payoffs):
            yield each
            yield refined(payoffs, each)


def by_pivots(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Answers of Lemke and Howson's method: short ways first (Codenotti et al. 2008), then some labels to their end."""
    from quantecon.game_theory import NormalFormGame, Player, lemke_howson

    game, total = NormalFormGame((Player(payoffs[0]), Player(payoffs[1].T))), sum(payoffs.shape[1:])
    most = int(max(WORK / payoffs[0].size / LABELS, 4 * total))
    yield list(lemke_howson(game, max_iter=most, capping=SHORT))
    for first in np.unique(np.linspace(0, total - 1, LABELS).astype(int)):
        yield list(lemke_howson(game, init_pivot=int(first), max_iter=most))


def by_logit(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Where logit paths lead, of the payoffs and of some nearby."""
    steps = int(np.clip(WORK / sum(payoffs.shape[1:]) ** 3, 10, 1_000))
    yield logit_limit(payoffs, steps)
    random = np.random.default_rng(0)
    for far in MOVED:
        yield logit_limit(payoffs + far * random.random(payoffs.shape), steps)


def by_dynamics(payoffs: np.ndarray) -> Iterator[Strategies]:
    """Averages over time, which no game makes fail."""
    steps = int(np.clip(WORK / payoffs.size, 100, 20_000))
    yield regret_matching(payoffs, steps)
    yield projected_replicator(payoffs, steps, step_size=0.1)
