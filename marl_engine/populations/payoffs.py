"""The payoff table of a population: mean, spread and number of games of every combination of members.

Shapes: P seats; seat p has n_p members, and a cell (k_0, k_1, …) is a combination of one member for each seat. Sums are
merged without loss of digits (Chan, Golub and LeVeque 1979).
"""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

Place = tuple[int, ...]  # of a cell: the number of a member of each seat


class Tally(NamedTuple):
    """The payoffs of some games: number, mean (P,), and sum of the products of deviations from the mean (P, P)."""

    games: float  # infinite if the mean is exact
    mean: np.ndarray
    scatter: np.ndarray


def tally_games(payoffs: np.ndarray) -> Tally:
    """Returns the tally of payoffs (games, P)."""
    mean = payoffs.mean(0)
    return Tally(len(payoffs), mean, (payoffs - mean).T @ (payoffs - mean))


def exact_tally(mean: np.ndarray) -> Tally:
    """Returns the tally of expected payoffs (P,), which are known without play."""
    return Tally(np.inf, mean, np.zeros((len(mean), len(mean))))


def merge_tallies(one: Tally, other: Tally) -> Tally:
    """Returns the tally of all games of two."""
    if one.games == 0 or np.isinf(other.games):
        return other
    games, gap = one.games + other.games, other.mean - one.mean
    share = other.games / games
    return Tally(games, one.mean + share * gap, one.scatter + other.scatter + one.games * share * np.outer(gap, gap))


class PayoffTable:
    """The payoffs of all cells. An empty cell has no games.

    In a `symmetric` table the seats have the same members, and exchanging seats exchanges payoffs. Only cells whose
    numbers ascend are played; the others are filled with them.
    """

    STATE = ("mean", "scatter", "games")

    def __init__(self, players: int, symmetric: bool = False):
        self.symmetric = symmetric
        self.mean = np.zeros((players, *[0] * players))  # (P, n_0, n_1, …)
        self.scatter = np.zeros((players, players, *[0] * players))  # (P, P, n_0, n_1, …); see `Tally`
        self.games = np.zeros([0] * players)  # (n_0, n_1, …), infinite if exact

    @property
    def players(self) -> int:
        """Returns P."""
        return self.games.ndim

    def grow(self, sizes: Sequence[int]) -> None:
        """Adds empty cells for new members; `sizes` are the new numbers of members."""
        margins = [(0, new - old) for new, old in zip(sizes, self.games.shape, strict=True)]
        self.games = np.pad(self.games, margins)
        self.mean = np.pad(self.mean, [(0, 0), *margins])
        self.scatter = np.pad(self.scatter, [(0, 0), (0, 0), *margins])

    def empty(self) -> list[Place]:
        """Returns the cells that must be played before all are filled."""
        return [place for place in map(tuple, np.argwhere(self.games == 0).tolist()) if self.is_played(place)]

    def is_played(self, place: Place) -> bool:
        """Whether a cell is played itself, not filled with the payoffs of another one."""
        return not self.symmetric or list(place) == sorted(place)

    def tally(self, place: Place) -> Tally:
        """Returns the tally of a cell."""
        index: Any = (..., *place)
        return Tally(float(self.games[index]), self.mean[index], self.scatter[index])

    def add(self, place: Place, tally: Tally) -> None:
        """Adds the games of a tally to a cell, and to those that are equal to it by symmetry."""
        if not self.symmetric:
            self._write(place, merge_tallies(self.tally(place), tally))
            return
        total = merge_tallies(self.tally(place), average_equal_seats(place, tally))
        for seats in exchanges(self.players):
            order = list(seats)
            exchanged = Tally(total.games, total.mean[order], total.scatter[np.ix_(order, order)])
            self._write(tuple(place[seat] for seat in seats), exchanged)

    def _write(self, place: Place, tally: Tally) -> None:
        index: Any = (..., *place)
        self.games[index], self.mean[index], self.scatter[index] = tally

    def covariance(self) -> np.ndarray:
        """Returns the covariances (P, P, n_0, n_1, …) of the errors of the mean payoffs in each cell: 0 if exact.

        A cell with a single game has no known spread; its errors are taken as large as the payoffs of the table differ.
        """
        games = np.where(self.games > 0, self.games, np.inf)
        several = self.scatter / np.maximum(games - 1, 1) / games
        if not (self.games == 1).any():
            return several
        spread = np.cov(self.mean.reshape(self.players, -1)).reshape(self.players, self.players)
        return np.where(self.games == 1, np.expand_dims(spread, tuple(range(2, several.ndim))), several)

    def error(self) -> np.ndarray:
        """Returns the standard errors (P, n_0, n_1, …) of the mean payoffs."""
        return np.sqrt(np.einsum("pp...->p...", self.covariance()))


def exchanges(players: int) -> Iterator[Place]:
    """Yields all orders of the seats."""
    return permutations(range(players))


def average_equal_seats(place: Place, tally: Tally) -> Tally:
    """Returns a tally in which seats with the same member of a symmetric population earn the same, game by game.

    In each game a seat is given the mean payoff of the seats with its member.
    """
    same = np.equal.outer(np.array(place), np.array(place)).astype(float)
    average = same / same.sum(1)
    return Tally(tally.games, average @ tally.mean, average @ tally.scatter @ average.T)
