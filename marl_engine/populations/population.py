"""A population: frozen policies (members) for every seat, and the payoff table of their combinations."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from marl_engine.numerics.state import set_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.weights import copy_with_weights, digest_weights, weights_equal
from marl_engine.populations.matches import Match, MatchFile
from marl_engine.populations.payoffs import PayoffTable, Place, Tally
from marl_engine.types import Policy, Profile, Runner

TOGETHER = 16  # cells that are played between two writes


class Cell(NamedTuple):
    """Games of a combination of members that are to be played: a pure job's argument."""

    members: Profile
    begin: int = 0  # number of the first game
    games: int | None = None  # None: payoffs are computed, not played
    stream: int = 0  # separates the seeds of its games from those of other combinations


Measure = Callable[[Cell], Tally]  # a pure function


class Population:
    """Seat p has n_p members. A cell of the payoff table is a combination of members, one for each seat.

    In a `symmetric` population all seats have the same members, and only one of the cells that differ by an exchange of
    seats is played.
    """

    STATE = ("members", "payoffs")

    def __init__(self, players: int, symmetric: bool = False):
        self.members: list[list[Policy]] = [[] for _ in range(players)]
        self.payoffs = PayoffTable(players, symmetric)
        self.digests: dict[Policy, str] = {}  # of members

    @property
    def sizes(self) -> tuple[int, ...]:
        """Returns the numbers of members n_0, n_1, …"""
        return tuple(map(len, self.members))

    def grow(self, newcomers: Profile, seats: Sequence[int] | None = None, *, again: bool = False) -> int:
        """Adds a copy of the policy of each seat, or of the given seats; returns how many were added.

        A policy that equals a member is added only if `again` is true. In a symmetric population the policy of the
        first of these seats becomes a member of all.
        """
        added, chosen = 0, list(range(len(newcomers)) if seats is None else seats)
        for seat in chosen[:1] if self.payoffs.symmetric else chosen:
            if again or not any(weights_equal(newcomers[seat], member) for member in self.members[seat]):
                (member,) = freeze([newcomers[seat]])
                for members in self.members if self.payoffs.symmetric else [self.members[seat]]:
                    members.append(member)
                added += 1
        self.payoffs.grow(self.sizes)
        return added

    def fill(self, runner: Runner, measure: Measure, games: int | None = None, matches: MatchFile | None = None) -> int:
        """Plays `games` games in every empty cell, or computes its payoffs; returns how many cells there were."""
        return self.play(self.payoffs.empty(), runner, measure, games, matches)

    def play(
        self,
        places: Sequence[Place],
        runner: Runner,
        measure: Measure,
        games: int | None = None,
        matches: MatchFile | None = None,
    ) -> int:
        """Plays `games` more games in some cells; returns how many cells there were.

        Games that are in the file of matches already are taken from there, and all others are added to it.
        """
        for start in range(0, len(places), TOGETHER):
            cells = {place: self._cell(place, games) for place in places[start : start + TOGETHER]}
            for place, tally in zip(cells, self._tallies(list(cells.items()), runner, measure, matches), strict=True):
                self.payoffs.add(place, tally)
        return len(places)

    def _cell(self, place: Place, games: int | None) -> Cell:
        """Returns the next games of a cell."""
        members = [options[number] for options, number in zip(self.members, place, strict=True)]
        if games is None:
            return Cell(members)
        names = " ".join(self._digests(members)).encode()
        stream = int.from_bytes(blake2b(names, digest_size=7).digest(), "little")
        return Cell(members, int(self.payoffs.games[place]), games, stream)

    def _tallies(
        self, cells: Sequence[tuple[Place, Cell]], runner: Runner, measure: Measure, matches: MatchFile | None
    ) -> list[Tally]:
        """Returns the tallies of cells, from the file of matches or by play."""
        if matches is None or any(cell.games is None for _, cell in cells):
            return runner.map(measure, [cell for _, cell in cells])
        keys = [Match(self._digests(cell.members), cell.begin, cell.games or 0) for _, cell in cells]
        stored = matches.find(keys)
        new = {key: cell for key, (_, cell) in zip(keys, cells, strict=True) if key not in stored}
        played = dict(zip(new, runner.map(measure, new.values()), strict=True))
        matches.add(played)
        return [stored[key] if key in stored else played[key] for key in keys]

    def _digests(self, members: Profile) -> tuple[str, ...]:
        """Returns the digests of the members of a cell."""
        for member in members:
            if member not in self.digests:
                self.digests[member] = digest_weights(member)
        return tuple(self.digests[member] for member in members)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Makes the members from copies of the first ones, and restores the table; see `set_state`."""
        self.members = [
            [copy_with_weights(members[0], weights) for weights in saved]
            for members, saved in zip(self.members, state["members"], strict=True)
        ]
        if self.payoffs.symmetric:
            self.members = [list(self.members[0]) for _ in self.members]
        self.payoffs = PayoffTable(len(self.members), self.payoffs.symmetric)
        set_state(self.payoffs, state["payoffs"])


def support(mixtures: Sequence[np.ndarray], least: float = 1e-6) -> float:
    """Returns the number of members that a mixture plays, as a mean over the seats."""
    return float(np.mean([(mixture > least).sum() for mixture in mixtures]))
