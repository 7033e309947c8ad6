"""Results of line-ups: games of more than two seats, in which as many entrants as there are seats meet.

On each deal the entrants of a line-up change seats until each of them has sat in each seat equally often. Payoffs of a
deal are means over these seatings. A game also has an order: who earned most, who came second, and so on.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement, permutations, product
from typing import NamedTuple

import numpy as np

from marl_engine.populations.payoffs import Tally, average_equal_seats, exact_tally, merge_tallies, tally_games

TIE = 1e-6  # differences of payoffs of single games that may be rounding errors, relative to their size

Lineup = tuple[int, ...]
"""The entrants of a game, P of them; an entrant may be there more than once."""


class LineupTally(NamedTuple):
    """The games of a line-up on some deals."""

    payoffs: Tally  # of P entrants; `games` is the number of deals
    orders: Mapping[tuple[int, ...], float]  # games by the places of the P entrants: 0 earned most; equals share one


def tally_lineup(payoffs: np.ndarray) -> LineupTally:
    """Returns the tally of payoffs (D, K, P) of the entrants in K seatings of D deals."""
    games = payoffs.reshape(-1, payoffs.shape[2])
    return LineupTally(tally_games(payoffs.mean(1)), count_orders(games, np.ones(len(games))))


def weigh_lineup(payoffs: np.ndarray, weights: np.ndarray) -> LineupTally:
    """Returns the expected tally of a game that has payoffs (G, P) with probabilities (G,)."""
    return LineupTally(exact_tally(weights @ payoffs), count_orders(payoffs, weights))


def count_orders(payoffs: np.ndarray, weights: np.ndarray) -> dict[tuple[int, ...], float]:
    """Returns the total weight of each order among games with payoffs (G, P) and weights (G,)."""
    gap = payoffs[:, None, :] - payoffs[:, :, None]  # (G, own, other)
    places = (gap > TIE * (1 + np.abs(payoffs[:, :, None]))).sum(2)
    orders, number = np.unique(places, axis=0, return_inverse=True)
    totals = np.bincount(number.ravel(), weights, len(orders))
    return dict(zip(map(tuple, orders.tolist()), totals.tolist(), strict=True))


def merge_lineups(one: LineupTally, other: LineupTally) -> LineupTally:
    """Returns the tally of all deals of two."""
    orders = {key: one.orders.get(key, 0.0) + other.orders.get(key, 0.0) for key in {**one.orders, **other.orders}}
    return LineupTally(merge_tallies(one.payoffs, other.payoffs), orders)


class Lineups(NamedTuple):
    """The results of M line-ups of N entrants. Payoffs of an entrant that is there more than once are means."""

    entrants: np.ndarray  # (M, P) int
    mean: np.ndarray  # (M, P) mean payoffs
    covariance: np.ndarray  # (M, P, P) of the errors of these means; 0 if they are exact
    orders: tuple[Mapping[tuple[int, ...], float], ...]  # (M,) see `LineupTally`

    @property
    def different(self) -> np.ndarray:
        """Returns which line-ups (M,) have as many entrants as seats."""
        ordered = np.sort(self.entrants, axis=1)
        return np.all(np.diff(ordered, axis=1) > 0, axis=1)


def gather_lineups(tallies: Mapping[Lineup, LineupTally]) -> Lineups:
    """Returns the results of line-ups.

    A covariance is estimated with one further deal that has the mean variances of all line-ups, so that one with few
    deals is not taken for certain.
    """
    payoffs = [average_equal_seats(lineup, tally.payoffs) for lineup, tally in tallies.items()]
    deals = np.array([each.games for each in payoffs])[:, None, None]
    scatter = np.stack([each.scatter for each in payoffs])
    known = np.maximum(np.where(np.isinf(deals), 1.0, deals) - 1, 0.0).sum()
    players = scatter.shape[1]
    own = np.eye(players, dtype=bool)
    total = scatter.sum(0) / max(known, 1.0)
    pooled = np.where(own, total[own].mean(), total[~own].mean())
    return Lineups(
        np.array(list(tallies)),
        np.stack([each.mean for each in payoffs]),
        (scatter + pooled) / deals**2,
        tuple(tally.orders for tally in tallies.values()),
    )


def pair_places(lineups: Lineups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs of entrants that met: the number of the line-up, and the places of both in it, (K,) each.

    Only line-ups of different entrants count, and those of a single one, who meets itself.
    """
    places = list(permutations(range(lineups.entrants.shape[1]), 2))
    met = np.flatnonzero(lineups.different)
    alone = np.flatnonzero((lineups.entrants == lineups.entrants[:, :1]).all(1))
    one, other = np.tile(places, (len(met), 1)).T.reshape(2, -1)
    number = np.concatenate([np.repeat(met, len(places)), alone])
    return number, np.concatenate([one, np.zeros_like(alone)]), np.concatenate([other, np.ones_like(alone)])


def sum_pairs(lineups: Lineups, count: int, values: np.ndarray) -> np.ndarray:
    """Returns the sums (N, N) over the pairs of entrants that met of values (M, P, P) of line-ups."""
    number, one, other = pair_places(lineups)
    flat = lineups.entrants[number, one] * count + lineups.entrants[number, other]
    return np.bincount(flat, values[number, one, other], count * count).reshape(count, count)


def count_wins(lineups: Lineups) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each line-up in how many games one entrant earned more than another, and equally much, (M, P, P)."""
    wins = np.zeros(lineups.covariance.shape)
    draws = np.zeros_like(wins)
    for number, orders in enumerate(lineups.orders):
        for places, games in orders.items():
            gap = np.subtract.outer(places, places)
            wins[number] += games * (gap < 0)
            draws[number] += games * (gap == 0)
    return wins, draws


def pair_payoffs(lineups: Lineups, count: int, means: Iterable[np.ndarray]) -> np.ndarray:
    """Returns payoffs (R, N, N) of the row in games with the column, for mean payoffs (R, M, P).

    All line-ups in which two entrants met have the same weight. Entries of pairs that have not met are nan.
    """
    shape = lineups.covariance.shape
    met = sum_pairs(lineups, count, np.ones(shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([sum_pairs(lineups, count, np.broadcast_to(each[:, :, None], shape)) / met for each in means])


def draw_means(lineups: Lineups, draws: int, seed: int) -> np.ndarray:
    """Returns mean payoffs (R, M, P) of line-ups as other tournaments of the same size could have had them."""
    values, vectors = np.linalg.eigh(lineups.covariance)
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    noise = np.random.default_rng(seed).standard_normal((draws, *lineups.mean.shape))
    return lineups.mean + np.einsum("mpq,rmq->rmp", roots, noise)


def payoff_places(lineups: Lineups, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns where the payoffs of each seat are, for each profile of N entrants: line-up and place, (P, N, N, …) each.

    Seats are exchangeable. None if the line-ups lack a profile, those with copies of an entrant included.
    """
    numbers = {tuple(sorted(lineup)): number for number, lineup in enumerate(lineups.entrants.tolist())}
    players = lineups.entrants.shape[1]
    if not all(each in numbers for each in combinations_with_replacement(range(count), players)):
        return None
    number, place = np.zeros((2, players, *[count] * players), int)
    for profile in product(range(count), repeat=players):
        row = numbers[tuple(sorted(profile))]
        lineup = lineups.entrants[row].tolist()
        for seat, entrant in enumerate(profile):
            number[(seat, *profile)], place[(seat, *profile)] = row, lineup.index(entrant)
    return number, place
