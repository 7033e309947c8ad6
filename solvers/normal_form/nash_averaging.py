"""Nash averaging: evaluates agents against a meta-player, independently of redundant copies (Balduzzi et al. 2018).

Re-evaluating evaluation, arXiv:1806.02643. In the zero-sum game with antisymmetric payoffs A, such as log-odds of
winning, the Nash equilibrium p with the largest entropy is unique, gives copies of an agent the weight of one, and
skill = A p is 0 for agents in its support and at most 0 for all others. For agents and tasks there is one such
equilibrium on each side (appendix D).

It departs from the paper in how p is computed: by linear programming if the equilibrium is unique, otherwise by
`selection.py`.
"""

import numpy as np

from marl_engine.numerics.checks import check_finite
from solvers.normal_form.nash import zero_sum
from solvers.normal_form.selection import max_entropy

NONE = 1e-9  # smaller probabilities, gains and losses count as zero, relative to payoff ranges


def nash_averaging(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns p (A,) and skill (A,) of agents that earn payoff (A, A) from each other.

    Raises ValueError unless A + A' is 0.
    """
    check_finite("payoff", payoff)
    payoff = np.asarray(payoff, float)
    size = np.abs(payoff).max(initial=0.0)
    if (
        payoff.ndim != 2
        or not payoff.size
        or payoff.shape[0] != payoff.shape[1]
        or np.abs(payoff + payoff.T).max() > NONE * size
    ):
        raise ValueError("Nash averaging takes square payoffs in which one agent wins what the other loses, A = -A'")
    scaled = payoff / max(size, 1e-300)
    p, _ = zero_sum(scaled)
    if not is_unique(scaled, p):
        p = max_entropy(scaled)
    return p, payoff @ p


def is_unique(payoff: np.ndarray, p: np.ndarray) -> bool:
    """Whether an equilibrium p of an antisymmetric game is unique.

    It is if every action outside its support loses to p, and the game restricted to the support has no other null
    vector: any other equilibrium would have its support there and make all actions of the support earn 0.
    """
    support = p > NONE
    if (payoff[~support] @ p > -NONE).any():
        return False
    sizes = np.linalg.svd(payoff[np.ix_(support, support)], compute_uv=False)
    return int((sizes < NONE).sum()) == 1


def nash_averaging_tasks(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns for scores (A, T) of agents in tasks: weights (A,) and (T,), skills (A,), and difficulties (T,).

    Scores of each task are scaled to [0, 1], because tasks have different units; a task with equal scores has zeros.
    The weights are the max-min strategy of the agents and the min-max strategy of the tasks with the largest entropy.
    Raises ValueError for scores of another shape or that are not finite.
    """
    check_finite("scores", scores)
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"scores must have the shape (agents, tasks), not {scores.shape}")
    low, high = scores.min(0), scores.max(0)
    check_finite("the differences between scores", high - low)
    earns = np.divide(scores - low, high - low, out=np.zeros_like(scores), where=high > low)
    row, column = zero_sum(earns)
    value = row @ earns @ column
    agents, tasks = max_entropy(value - earns.T - NONE), max_entropy(earns - value - NONE)  # allows for rounding
    return agents, tasks, earns @ tasks, -(agents @ earns)
