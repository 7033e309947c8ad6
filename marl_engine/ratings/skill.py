"""OpenSkill: Gaussian skills updated game by game (Weng and Lin 2011; package `openskill`, model of Plackett and Luce).

These ratings depend on the order of the games, although entrants do not learn here. They are therefore computed for
several random orders of a sample of the games and averaged. The spread between orders is reported.
"""

from typing import Any

import numpy as np

from marl_engine.ratings.results import WIDTH, Rating, Results

ORDERS = 10
MOST_GAMES = 1000  # of a sample
MEANING = (
    "OpenSkill (Plackett-Luce): mean of a Gaussian skill that starts at 25 ± 8.3 and is updated game by game, as a "
    f"mean over {ORDERS} random orders of a sample of the games."
)
MISSING = "It is not computed: the package openskill is missing; pip install 'marl_engine[tournament]'."


def rate_skill(results: Results, seed: int = 0) -> Rating:
    """Returns the mean skills, with intervals of the mean uncertainty; without numbers if the package is missing."""
    none = np.full(len(results.names), np.nan)
    try:
        from openskill.models import PlackettLuce
    except ImportError:
        return Rating("skill", "OpenSkill", MEANING, none, none, none, (MISSING,))
    games = sample_games(results, np.random.default_rng(seed))
    orders = [play_in_order(PlackettLuce(), games, len(none), seed + number) for number in range(ORDERS)]
    mean, sigma = np.array(orders).transpose(1, 0, 2)  # (orders, N) each
    value, width = mean.mean(0), WIDTH * np.sqrt(sigma.mean(0) ** 2 + mean.var(0))
    spread = float((mean.max(0) - mean.min(0)).max(initial=0.0))
    note = f"From {len(games):,} sampled games; the order alone moves a rating by up to {spread:.2f}."
    return Rating("skill", "OpenSkill", MEANING, value, value - width, value + width, (note,))


def sample_games(results: Results, random: np.random.Generator) -> np.ndarray:
    """Returns games (M, 3): two entrants, and 1, 0 or -1 if the first one won, drew or lost."""
    one, other = np.nonzero(np.triu(results.met))
    share = np.stack([results.wins[one, other], results.draws[one, other], results.wins[other, one]], axis=1)
    share = share / share.sum(1, keepdims=True)
    total = results.games[one, other].sum() if not results.exact else MOST_GAMES
    count = int(min(total, max(MOST_GAMES, len(one)), 20_000))
    if not len(one):
        return np.zeros((0, 3), int)
    pair = np.concatenate([np.tile(np.arange(len(one)), count // len(one)), random.permutation(len(one))])[:count]
    outcome = (random.random(len(pair))[:, None] >= share[pair].cumsum(1)[:, :2]).sum(1)
    return np.stack([one[pair], other[pair], 1 - outcome], axis=1)


def play_in_order(model: Any, games: np.ndarray, count: int, seed: int) -> tuple[list[float], list[float]]:
    """Returns means (N,) and standard deviations (N,) of skills after games (M, 3) in a random order."""
    skills = [model.rating() for _ in range(count)]
    for one, other, outcome in np.random.default_rng(seed).permutation(games).tolist():
        ranks = [1 - outcome, 1 + outcome]  # the lower rank is the better one
        (skills[one],), (skills[other],) = model.rate([[skills[one]], [skills[other]]], ranks=ranks)
    return [each.mu for each in skills], [each.sigma for each in skills]
