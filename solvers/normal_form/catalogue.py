"""Solution concepts for games in normal form, by name."""

from collections.abc import Callable

import numpy as np

from solvers.normal_form.alpha_rank import alpha_rank, marginals
from solvers.normal_form.dynamics import fictitious_play, projected_replicator, regret_matching
from solvers.normal_form.logit import logit_limit
from solvers.normal_form.nash import nash
from solvers.normal_form.regrets import Strategies, uniform_strategies


def alpha_rank_marginals(payoffs: np.ndarray) -> Strategies:
    """Returns the marginals of alpha-Rank for each player."""
    return marginals(alpha_rank(payoffs))


META: dict[str, Callable[[np.ndarray], Strategies]] = {
    "uniform": uniform_strategies,
    "nash": nash,
    "logit": logit_limit,
    "prd": projected_replicator,
    "regret_matching": regret_matching,
    "fictitious_play": fictitious_play,
    "alpha_rank": alpha_rank_marginals,
}
