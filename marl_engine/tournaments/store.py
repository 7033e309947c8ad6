"""The store of matches of a tournament, in an append-only file.

A row has the tally of a pair on a stretch of deals. Stretches of a pair follow each other without gaps. The first deal
is part of the primary key, so of two processes that play the same stretch one is ignored, and no game is counted twice.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import numpy as np

from marl_engine.errors import Refused
from marl_engine.ratings.results import Tally, swap
from marl_engine.storage import AppendOnlyFile

FILE = "matches.sqlite"
LAYOUT = 1  # number of the layout
SUMS = ", ".join(f"{name} REAL NOT NULL" for name in Tally._fields)
TABLES = (
    "CREATE TABLE entrants (digest TEXT PRIMARY KEY, name TEXT NOT NULL, origin TEXT NOT NULL) STRICT",
    f"""CREATE TABLE matches (
    one TEXT NOT NULL, other TEXT NOT NULL, begin INTEGER NOT NULL CHECK (begin >= 0), {SUMS}, at REAL NOT NULL,
    CHECK (one <= other), CHECK (deals >= 1), CHECK (wins >= 0 AND draws >= 0 AND wins + draws <= games),
    PRIMARY KEY (one, other, begin)
) STRICT, WITHOUT ROWID""",
)


class Row(NamedTuple):
    """Games of two entrants, given by their digests, on the deals from `begin` on."""

    first: str
    second: str
    begin: int
    tally: np.ndarray  # (9,)


class MatchStore:
    """The matches in a folder. Raises Refused if the file there is something else."""

    def __init__(self, folder: Path):
        self.file = AppendOnlyFile(folder / FILE, TABLES, "matches", LAYOUT)

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def agree(self, **about: Any) -> None:
        """See `AppendOnlyFile.agree`."""
        self.file.agree(**about)

    def introduce(self, entrants: Iterable[tuple[str, str, str]]) -> None:
        """Notes digests, names and origins of entrants, for readers of the file."""
        self.file.add("INSERT OR IGNORE INTO entrants VALUES (?, ?, ?)", entrants)

    def add(self, rows: Iterable[Row]) -> None:
        """Adds matches, all or none. A stretch that another process has added is ignored."""
        values = []
        for first, second, begin, tally in rows:
            sums = tally if first <= second else swap(tally)
            values.append((min(first, second), max(first, second), begin, *map(float, sums), time()))
        marks = ", ".join("?" * (4 + len(Tally._fields)))
        self.file.add(f"INSERT INTO matches VALUES ({marks}) ON CONFLICT (one, other, begin) DO NOTHING", values)

    def ends(self) -> dict[tuple[str, str], int]:
        """Returns for each pair of digests, the smaller one first, how many deals it has played."""
        query = "SELECT one, other, MAX(begin + CAST(deals AS INTEGER)) FROM matches GROUP BY one, other"
        return {(one, other): end for one, other, end in self.file.read(query)}

    def tallies(self, most: int | None = None) -> Mapping[tuple[str, str], np.ndarray]:
        """Returns the tally (9,) of each pair of digests, the smaller one first, on its first `most` deals.

        Raises Refused for numbers that are not finite.
        """
        sums = ", ".join(f"SUM({name})" for name in Tally._fields)
        query = f"SELECT one, other, {sums} FROM matches WHERE begin + deals <= ? GROUP BY one, other"
        rows = self.file.read(query, [math.inf if most is None else most])
        tallies = {(one, other): np.array(numbers, float) for one, other, *numbers in rows}
        if not all(np.isfinite(each).all() for each in tallies.values()):
            raise Refused(f"{self.file.path} is damaged: it has numbers that are not finite; choose another run=")
        return tallies
