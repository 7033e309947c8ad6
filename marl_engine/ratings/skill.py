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


Game = tuple[tuple[int, ...], tuple[int, ...]]
"""The entrants of a game and their places, of which the lower one is the better one."""


def sample_games(results: Results, random: np.random.Generator) -> list[Game]:
    """Returns a sample of games, equally many of each pair or line-up."""
    kinds = list_outcomes(results)
    total = MOST_GAMES if results.exact else sum(weights.sum() for _, _, weights in kinds)
    count = int(min(total, max(MOST_GAMES, len(kinds)), 20_000))
    if not kinds:
        return []
    numbers = np.concatenate([np.tile(np.arange(len(kinds)), count // len(kinds)), random.permutation(len(kinds))])
    chances = random.random(count)
    games = []
    for number, chance in zip(numbers[:count].tolist(), chances.tolist(), strict=True):
        entrants, places, weights = kinds[number]
        outcome = np.searchsorted(weights.cumsum() / weights.sum(), chance, side="right")
        games.append((entrants, places[min(int(outcome), len(places) - 1)]))
    return games


def list_outcomes(results: Results) -> list[tuple[tuple[int, ...], list[tuple[int, ...]], np.ndarray]]:
    """Returns for each pair or line-up of different entrants the places that they had, and in how many games."""
    if (lineups := results.lineups) is not None:
        return [
            (tuple(lineups.entrants[row].tolist()), list(orders), np.array(list(orders.values())))
            for row, orders in enumerate(lineups.orders)
            if lineups.different[row]
        ]
    pairs = np.argwhere(np.triu(results.met)).tolist()
    tables = (results.wins, results.draws, results.wins.T)
    places: list[tuple[int, ...]] = [(0, 2), (1, 1), (2, 0)]
    return [((one, other), places, np.array([each[one, other] for each in tables])) for one, other in pairs]


def play_in_order(model: Any, games: list[Game], count: int, seed: int) -> tuple[list[float], list[float]]:
    """Returns means (N,) and standard deviations (N,) of skills after games in a random order."""
    skills = [model.rating() for _ in range(count)]
    for number in np.random.default_rng(seed).permutation(len(games)):
        entrants, places = games[number]
        rated = model.rate([[skills[each]] for each in entrants], ranks=list(places))
        for entrant, (skill,) in zip(entrants, rated, strict=True):
            skills[entrant] = skill
    return [each.mu for each in skills], [each.sigma for each in skills]
