"""Meta-solvers: what a population is to be weighed by, from its table of payoffs (P, A, B, …).

`META` names those that a solver can choose from: each takes payoffs and returns a distribution for each of the P
players. Joint distributions, ratings and paths are in the files beside this one.
"""

from collections.abc import Callable

import numpy as np

from solvers.meta.alpha_rank import alpha_rank, marginals
from solvers.meta.dynamics import fictitious_play, projected_replicator, regret_matching
from solvers.meta.logit import logit_limit
from solvers.meta.nash import nash
from solvers.meta.regrets import Strategies, uniform


def ranked(payoffs: np.ndarray) -> Strategies:
    """How often each action is played where alpha-Rank's chain is, player by player."""
    return marginals(alpha_rank(payoffs))


META: dict[str, Callable[[np.ndarray], Strategies]] = {
    "uniform": uniform,
    "nash": nash,
    "logit": logit_limit,
    "prd": projected_replicator,
    "regret_matching": regret_matching,
    "fictitious_play": fictitious_play,
    "alpha_rank": ranked,
}
