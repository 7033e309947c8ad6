"""The matches of a population, in an append-only file of the run's folder.

A row has the payoffs of consecutive games of one combination of members, which are named by digests of their weights.
Games are numbered, and a match is a function of its members, its games and the seed of the run. So a run that goes on
after it was killed takes the matches that it had played from the file, with the same bits, and of two processes that
play the same games one is ignored.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import time
from typing import NamedTuple

import numpy as np

from marl_engine.errors import Refused
from marl_engine.populations.payoffs import Tally
from marl_engine.storage import AppendOnlyFile

FILE = "matches.sqlite"
LAYOUT = 2  # number of the layout; that of tournaments is 1
TABLES = (
    """CREATE TABLE matches (
    members TEXT NOT NULL, begin INTEGER NOT NULL CHECK (begin >= 0), games INTEGER NOT NULL CHECK (games >= 1),
    mean TEXT NOT NULL, scatter TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (members, begin, games)
) STRICT, WITHOUT ROWID""",
)


class Match(NamedTuple):
    """Games of a combination of members."""

    members: tuple[str, ...]  # a digest for each seat
    begin: int  # number of the first game
    games: int


class MatchFile:
    """The matches in a folder. Its file is made with the first match, so payoffs that are computed leave none.

    Raises Refused if the file there is something else.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE
        self.file = self._open() if self.path.exists() else None

    def _open(self) -> AppendOnlyFile:
        return AppendOnlyFile(self.path, TABLES, "matches", LAYOUT)

    def close(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()

    def add(self, tallies: Mapping[Match, Tally]) -> None:
        """Adds matches, all or none. Those that are there already are ignored."""
        if not tallies:
            return
        self.file = self.file or self._open()
        rows = [
            (" ".join(members), begin, games, write_numbers(tally.mean), write_numbers(tally.scatter), time())
            for (members, begin, games), tally in tallies.items()
        ]
        self.file.add("INSERT INTO matches VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def find(self, matches: Iterable[Match]) -> dict[Match, Tally]:
        """Returns the tallies of those matches that are in the file. Raises Refused for damaged ones."""
        if self.file is None and not self.path.exists():
            return {}
        self.file = self.file or self._open()
        query = "SELECT mean, scatter FROM matches WHERE members = ? AND begin = ? AND games = ?"
        tallies = {}
        for match in matches:
            for mean, scatter in self.file.read(query, [" ".join(match.members), match.begin, match.games]):
                tallies[match] = self._read_tally(match, mean, scatter)
        return tallies

    def _read_tally(self, match: Match, mean: str, scatter: str) -> Tally:
        """Returns the tally of a match from what the file has. Raises Refused if it is not one."""
        players = len(match.members)
        try:
            numbers = np.array(json.loads(mean), float), np.array(json.loads(scatter), float)
        except (ValueError, TypeError):
            numbers = (np.empty(0), np.empty(0))
        shapes = [each.shape for each in numbers]
        if shapes != [(players,), (players, players)] or not all(np.isfinite(each).all() for each in numbers):
            raise Refused(f"{self.path} is damaged: a match has no valid payoffs; choose another run=")
        return Tally(match.games, *numbers)


def write_numbers(numbers: np.ndarray) -> str:
    """Returns numbers as JSON, with all their digits."""
    return json.dumps(numbers.tolist())
