"""All ratings of a table of results, in the order in which a report shows them."""

from typing import NamedTuple

import numpy as np

from marl_engine.ratings.cycles import Cycles, find_cycles
from marl_engine.ratings.elo import rate_cyclic_elo, rate_elo
from marl_engine.ratings.mean_payoff import rate_payoff, rate_self_play
from marl_engine.ratings.meta_game import rate_alpha_rank, rate_nash
from marl_engine.ratings.results import Rating, Results
from marl_engine.ratings.skill import rate_skill


class Ranking(NamedTuple):
    """Ratings of N entrants, their order by the first rating, and what is cyclic about their results."""

    results: Results
    ratings: tuple[Rating, ...]
    order: tuple[int, ...]  # entrants, the best first
    cycles: Cycles


def rank(results: Results, seed: int = 0) -> Ranking:
    """Returns all ratings of results.

    In a team nobody wins, so there are no Elo, OpenSkill and alpha-Rank ratings, but the payoff of each entrant with
    itself.
    """
    payoff = rate_payoff(results)
    if results.team:
        ratings = [payoff, rate_self_play(results), *rate_nash(results, seed)]
    else:
        ratings = [payoff, rate_elo(results), rate_cyclic_elo(results), rate_skill(results, seed)]
        ratings += [*rate_nash(results, seed), rate_alpha_rank(results, seed)]
    order = np.argsort(-np.nan_to_num(payoff.value, nan=-np.inf), kind="stable")
    return Ranking(results, tuple(ratings), tuple(order.tolist()), find_cycles(results))
