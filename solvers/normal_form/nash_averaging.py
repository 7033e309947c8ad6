"""Nash averaging: how good agents are against a meta-player who cannot be fooled by copies (Balduzzi et al. 2018).

Re-evaluating evaluation, arXiv:1806.02643: in the zero-sum game of antisymmetric payoffs A, such as log-odds of
winning, the Nash equilibrium p of largest entropy is unique, weighs copies of an agent like one, and skill = A p is 0
for those that it plays and at most 0 for all others. Agents and tasks have one such equilibrium on each side
(appendix D).
Departs in how p is found: linear programming where the equilibrium is unique, else `entropy.py`.
"""

import numpy as np

from marl_engine.numerics.checks import check_finite
from solvers.normal_form.entropy import most_even
from solvers.normal_form.nash import zero_sum

NONE = 1e-9  # probabilities, gains and losses below count as none, in ranges of payoffs


def nash_averaging(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p (A,) and skill (A,) of agents that earn payoff (A, A) from each other. Raises ValueError if A + A' is not 0."""
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
    if not only(scaled, p):
        p = most_even(scaled)
    return p, payoff @ p


def only(payoff: np.ndarray, p: np.ndarray) -> bool:
    """Whether an equilibrium p of an antisymmetric game is the only one.

    It is if everything that p does not play loses to p, and the part that it plays has no other null vector: every
    other equilibrium would play nothing else, and make all of that part earn 0.
    """
    played = p > NONE
    if (payoff[~played] @ p > -NONE).any():
        return False
    sizes = np.linalg.svd(payoff[np.ix_(played, played)], compute_uv=False)
    return int((sizes < NONE).sum()) == 1


def nash_averaging_tasks(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of scores (A, T) of agents in tasks: the weights (A,) and (T,), skills (A,), and difficulties (T,).

    Scores of each task are scaled to [0, 1] first, as units of tasks differ; a task that all do alike has zeros.
    The agents' weights are the most even max-min strategy, those of tasks the most even min-max strategy. Raises
    ValueError for scores that are not finite numbers of that shape.
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
    agents, tasks = most_even(value - earns.T - NONE), most_even(earns - value - NONE)  # rounding is no condition
    return agents, tasks, earns @ tasks, -(agents @ earns)
