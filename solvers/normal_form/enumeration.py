"""All equilibria of a two-player game, by enumerating vertices of the two best-response polytopes.

Avis, Rosenberg, Savani and von Stengel 2010, "Enumeration of Nash equilibria for two-player games", section 3. For
positive payoffs A and B' the polytopes are {x >= 0, B' x <= 1} and {y >= 0, A y <= 1}. A pair of nonzero vertices,
scaled to sum 1, is an equilibrium if every action is either not played or a best response. A degenerate game has
infinitely many equilibria; the extreme ones are returned, and all others are mixtures of these.

It departs from the source in that vertices are computed with Qhull (as in QuantEcon's vertex enumeration), and best
responses are measured rather than read from facets, so that none is lost in degenerate games.
"""

from collections.abc import Sequence

import numpy as np

from marl_engine.errors import Refused
from solvers.normal_form.regrets import Strategies, in_range, regrets
from solvers.normal_form.supports import refine

LARGEST = 12  # actions of a player
SAME = 1e-9  # tolerance for equal coordinates of vertices
TOLERANCE = 1e-9  # regret of an equilibrium, relative to a player's payoff range


def all_equilibria(payoffs: np.ndarray) -> list[Strategies]:
    """Returns all equilibria of payoffs (2, A, B), the extreme ones of a degenerate game, ordered by their first
    actions.

    Raises Refused for invalid payoffs, other numbers of players than two, more than LARGEST actions, and if rounding
    leaves none.
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
    if not pairs:
        raise Refused("no equilibrium was found up to rounding; use solver.method=nash")
    distinct = distinct_rows(np.array([np.concatenate(pair) for pair in pairs]))
    return sorted([pairs[place] for place in distinct], key=lambda pair: tuple(-np.concatenate(pair).round(6)))


def check_size(actions: Sequence[int]) -> None:
    """Raises Refused unless there are two players with at most LARGEST actions each."""
    if len(actions) != 2 or max(actions) > LARGEST:
        raise Refused(
            f"all equilibria are listed of games of two players with up to {LARGEST} actions each, "
            f"not of {len(actions)} with {', '.join(map(str, actions))}; use solver.method=nash"
        )


def list_vertices(payoff: np.ndarray) -> np.ndarray:
    """Returns the distinct nonzero vertices (V, n) of {x >= 0, payoff x <= 1} for a positive payoff (m, n)."""
    from scipy.spatial import HalfspaceIntersection

    actions = payoff.shape[1]
    if actions == 1:  # Qhull does not support one dimension
        return 1 / payoff.max(keepdims=True)
    inside = np.full(actions, 1 / (2 * payoff.sum(1).max()))
    halfspaces = np.vstack(
        [np.column_stack([-np.eye(actions), np.zeros(actions)]), np.column_stack([payoff, -np.ones(len(payoff))])]
    )
    points = np.maximum(HalfspaceIntersection(halfspaces, inside).intersections, 0)
    points = points[distinct_rows(points)]
    return points[points.max(1) > SAME]


def distinct_rows(rows: np.ndarray) -> list[int]:
    """Returns the indices of rows (N, D) that differ from all earlier ones by more than SAME in some coordinate."""
    from scipy.spatial import KDTree

    repeated = {later for _, later in KDTree(rows).query_pairs(SAME, p=np.inf)}
    return [place for place in range(len(rows)) if place not in repeated]


def choose_better(payoffs: np.ndarray, strategies: Strategies) -> Strategies:
    """Returns the strategies, or their refinement by Newton's method if it has less regret."""
    return min([refine(payoffs, strategies), strategies], key=lambda each: float(regrets(payoffs, each).max()))
