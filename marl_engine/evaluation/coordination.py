"""Coordination with strangers: cross-play between teams, and how near a team comes to the best response to a partner.

Best-response proximity (BR-Prox) is that of Wang et al. 2024, "ZSC-Eval" (arXiv:2310.05208, section 4): the return with
a partner, divided by that of the best response to this partner. Here the best response is the best known one, such as a
learned response or the team that learned with the partner, so that the result is an upper bound of BR-Prox.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from marl_engine.evaluation.report import deviations
from marl_engine.evaluation.returns import mean_over_seats
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.types import Game, Profile, Runner


def cross_play_matrix(
    runner: Runner, game: Game, teams: Sequence[Profile], partners: Sequence[Profile], seeds: Tensor
) -> np.ndarray:
    """Returns the mean returns (N, M) of each team's policies in one seat with a partner's in all others.

    They are means over the seats and over games with seeds (G,).
    """
    pairs = [(team, partner) for team in teams for partner in partners]
    lineups = [Lineup(each) for pair in pairs for each in deviations(*pair)]
    results = iter(score_lineups(runner, game, lineups, seeds))
    means = [mean_over_seats([next(results) for _ in range(game.players)]).mean().item() for _ in pairs]
    return np.array(means).reshape(len(teams), len(partners))


def strangers_mean(matrix: np.ndarray) -> float:
    """Returns the mean of the entries of a matrix (N, N) off the diagonal: the return with teams that one never met."""
    size = len(matrix)
    if size < 2:
        raise ValueError("cross-play is between two teams or more")
    return float((matrix.sum() - np.trace(matrix)) / (size * (size - 1)))


def response_proximity(returns: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Returns the proximity (N, M) of returns (N, M) with M partners to those of best responses (M,).

    A partner with whom nobody earns anything has no proximity: nan.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        result: np.ndarray = np.where(best > 0, returns / best, np.nan)
    return result


def bootstrap_interval(numbers: Sequence[float], level: float = 0.95, draws: int = 10_000) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the mean of numbers (N,), such as those of N seeds."""
    values = np.asarray(numbers, dtype=float)
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[picks].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
