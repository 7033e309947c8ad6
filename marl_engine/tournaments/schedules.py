"""Who plays whom: round robin, one against the field, and Swiss; and which entrants need more games.

Games of more than two entrants have a schedule of their own; see `lineups`.

A schedule is a pure function of the results so far, so a tournament that is resumed makes the same choices again.
"""

from itertools import pairwise
from statistics import NormalDist

import numpy as np

from marl_engine.ratings.mean_payoff import mean_over_opponents, order_stderr
from marl_engine.ratings.results import Results

Pair = tuple[int, int]

ROUND_ROBIN, FIELD, SWISS, FREE_FOR_ALL = "round_robin", "field", "swiss", "free_for_all"
SCHEDULES = (ROUND_ROBIN, FIELD, SWISS, FREE_FOR_ALL)


def round_robin(count: int) -> list[Pair]:
    """Returns all pairs of entrants."""
    one, other = np.triu_indices(count, 1)
    return list(zip(one.tolist(), other.tolist(), strict=True))


def one_against_field(count: int) -> list[Pair]:
    """Returns the pairs of the first entrant with all others."""
    return [(0, other) for other in range(1, count)]


def self_pairs(count: int) -> list[Pair]:
    """Returns each entrant with itself, for games of a team."""
    return [(entrant, entrant) for entrant in range(count)]


def swiss_rounds(count: int) -> int:
    """Returns the number of rounds of a Swiss tournament: enough for a single winner, and two more."""
    return min(count - 1 + count % 2, int(np.ceil(np.log2(count))) + 2)


def swiss_round(results: Results) -> list[Pair]:
    """Returns pairs of entrants with similar scores that have not met; with an odd number the last one left rests.

    The score is the mean payoff minus that of the opponents, so that it suits games of any sum; in a team it is the
    mean payoff. From the highest score down, each entrant is paired with the next one that it has not met.
    """
    earned = results.payoff if results.team else results.lead
    games = results.met.sum(1)
    score = np.nan_to_num(mean_over_opponents(earned, results.met))
    left = np.lexsort((np.arange(len(score)), games, -score)).tolist()
    if len(left) % 2:  # who has rested least often rests, the lowest score first
        left.remove(max(reversed(left), key=lambda entrant: games[entrant]))
    pairs = []
    while len(left) > 1:
        one = left.pop(0)
        other = next((each for each in left if not results.met[one, each]), None)
        if other is not None:
            left.remove(other)
            pairs.append((one, other))
    return pairs


def undecided(results: Results, confidence: float) -> list[int]:
    """Returns the entrants whose place next to a neighbour in the ranking by mean payoff is not yet certain.

    A place is certain if all neighbours are apart by a one-sided test, together with `confidence` (Bonferroni).
    """
    mean = np.nan_to_num(mean_over_opponents(results.payoff, results.met), nan=-np.inf)
    order = np.argsort(-mean, kind="stable").tolist()
    threshold = NormalDist().inv_cdf(1 - (1 - confidence) / max(len(order) - 1, 1))
    doubtful = set()
    for better, worse in pairwise(order):
        gap, error = order_stderr(results, better, worse)
        if not gap > threshold * error:
            doubtful |= {better, worse}
    return sorted(doubtful)


def spent_confidence(confidence: float, look: int) -> float:
    """Returns the confidence that look 1, 2, … may use, so that all looks together have `confidence`."""
    return 1 - (1 - confidence) / (look * (look + 1))
