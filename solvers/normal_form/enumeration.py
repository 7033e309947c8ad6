"""All equilibria of a two-player game: pairs of vertices of the two best-response polytopes that answer each other.

Avis, Rosenberg, Savani and von Stengel 2010, "Enumeration of Nash equilibria for two-player games", section 3. With
payoffs A and B' above 0 the polytopes are {x >= 0, B' x <= 1} and {y >= 0, A y <= 1}. A pair of vertices other than 0
is an equilibrium, scaled to sums of 1, where each action is not played or a best response. In a degenerate game there
are infinitely many; those that are found are the extreme ones, and all others are mixtures of some of these.

Departs in how vertices are found (Qhull, as in QuantEcon's vertex enumeration) and in that what is a best response is
measured, not read off the facets, so that degenerate games lose none.
"""

from collections.abc import Sequence

import numpy as np

from marl_engine.errors import Refused
from solvers.normal_form.regrets import Strategies, in_range, regrets
from solvers.normal_form.supports import refined

LARGEST = 12  # actions of a player
SAME = 1e-9  # numbers of vertices are, that are as near as this
TOLERANCE = 1e-9  # regret of an equilibrium, in ranges of a player's payoffs


def all_equilibria(payoffs: np.ndarray) -> list[Strategies]:
    """Every equilibrium of payoffs (2, A, B), of a degenerate game every extreme one; the first actions first.

    Raises Refused for payoffs that are none, of more or fewer players than two, or of more actions than LARGEST.
    """
    payoffs = in_range(payoffs)
    check_size(payoffs.shape[1:])
    row, column = 1 + payoffs[0], 1 + payoffs[1].T
    one, other = list_vertices(column), list_vertices(row)
    row_errs, column_errs = other @ row.T < 1 - SAME, one @ column.T < 1 - SAME  # whether an action is no best response
    conflicts = (one > SAME).astype(int) @ row_errs.T + column_errs.astype(int) @ (other > SAME).T
    pairs = [[one[i] / one[i].sum(), other[j] / other[j].sum()] for i, j in np.argwhere(conflicts == 0)]
    pairs = [choose_better(payoffs, pair) for pair in pairs]
    pairs = [pair for pair in pairs if regrets(payoffs, pair).max() <= TOLERANCE]
    return sorted(pairs, key=lambda pair: tuple(-np.concatenate(pair).round(6)))


def check_size(actions: Sequence[int]) -> None:
    """Raises Refused unless there are two players, and few enough actions of each."""
    if len(actions) != 2 or max(actions) > LARGEST:
        raise Refused(
            f"all equilibria are listed of games of two players with up to {LARGEST} actions each, "
            f"not of {len(actions)} with {', '.join(map(str, actions))}; use solver.method=nash"
        )


def list_vertices(payoff: np.ndarray) -> np.ndarray:
    """The different vertices (V, n) but 0 of {x >= 0, payoff x <= 1} for payoff (m, n) above 0."""
    from scipy.spatial import HalfspaceIntersection

    actions = payoff.shape[1]
    if actions == 1:  # Qhull has no polytopes of one dimension
        return 1 / payoff.max(keepdims=True)
    inside = np.full(actions, 1 / (2 * payoff.sum(1).max()))
    halfspaces = np.vstack(
        [np.column_stack([-np.eye(actions), np.zeros(actions)]), np.column_stack([payoff, -np.ones(len(payoff))])]
    )
    points = np.maximum(HalfspaceIntersection(halfspaces, inside).intersections, 0)
    _, first = np.unique((points / SAME).round(), axis=0, return_index=True)
    points = points[first]
    return points[points.max(1) > SAME]


def choose_better(payoffs: np.ndarray, strategies: Strategies) -> Strategies:
    """The strategies, or what Newton's method makes of them, whichever has less regret."""
    return min([refined(payoffs, strategies), strategies], key=lambda each: float(regrets(payoffs, each).max()))
