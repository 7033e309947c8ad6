"""The store of matches: a SQLite file to which matches are only ever added.

It is in WAL mode, so several processes may read and write it, and a process may be killed at any moment: a match is in
the file completely or not at all. A row has the tally of a pair on a stretch of deals. Stretches of a pair follow each
other without gaps. The first deal is part of the primary key, so of two processes that play the same stretch one is
ignored, and no game is counted twice. Triggers refuse to change or remove rows. Values are numbers and texts; nothing
in the file is executed or unpickled.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import numpy as np

from marl_engine.errors import Halted, Refused
from marl_engine.ratings.results import Tally, swap

FILE = "matches.sqlite"
APPLICATION, LAYOUT = 0x6D61726C, 1  # "marl", in the header of the file; the number of the layout
PATIENCE = 60.0  # seconds that a process waits for another one to finish writing
SUMS = ", ".join(f"{name} REAL NOT NULL" for name in Tally._fields)
COLUMNS = ", ".join(Tally._fields)
SCHEMA = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entrants (digest TEXT PRIMARY KEY, name TEXT NOT NULL, origin TEXT NOT NULL) STRICT;
CREATE TABLE matches (
    one TEXT NOT NULL, other TEXT NOT NULL, begin INTEGER NOT NULL CHECK (begin >= 0), {SUMS}, at REAL NOT NULL,
    CHECK (one <= other), CHECK (deals >= 1), CHECK (wins >= 0 AND draws >= 0 AND wins + draws <= games),
    PRIMARY KEY (one, other, begin)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER keep BEFORE DELETE ON matches BEGIN SELECT raise(ABORT, 'matches are only added'); END;
CREATE TRIGGER fixed BEFORE UPDATE ON matches BEGIN SELECT raise(ABORT, 'matches are only added'); END;
"""


class Row(NamedTuple):
    """Games of two entrants, given by their digests, on the deals from `begin` on."""

    first: str
    second: str
    begin: int
    tally: np.ndarray  # (9,)


class MatchStore:
    """The matches in a folder. Raises Refused if the file there is something else."""

    def __init__(self, folder: Path):
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        with self._explain():
            self.connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._prepare()

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    def agree(self, **about: Any) -> None:
        """Notes what all matches have in common, such as the game. Raises Refused if earlier ones differ."""
        for key, value in about.items():
            text = json.dumps(value, sort_keys=True)
            with self._explain():
                self.connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, text))
                (before,) = self.connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
            if before != text:
                raise Refused(
                    f"the matches in {self.path} were played with {key}={before}, not {text}; choose another run="
                )

    def introduce(self, entrants: Iterable[tuple[str, str, str]]) -> None:
        """Notes digests, names and origins of entrants, for readers of the file."""
        with self._explain(), self._transaction():
            self.connection.executemany("INSERT OR IGNORE INTO entrants VALUES (?, ?, ?)", entrants)

    def add(self, rows: Iterable[Row]) -> None:
        """Adds matches, all or none. A stretch that another process has added is ignored."""
        values = []
        for first, second, begin, tally in rows:
            sums = tally if first <= second else swap(tally)
            values.append((min(first, second), max(first, second), begin, *map(float, sums), time()))
        marks = ", ".join("?" * (4 + len(Tally._fields)))
        with self._explain(), self._transaction():
            self.connection.executemany(
                f"INSERT INTO matches VALUES ({marks}) ON CONFLICT (one, other, begin) DO NOTHING", values
            )

    def ends(self) -> dict[tuple[str, str], int]:
        """Returns for each pair of digests, the smaller one first, how many deals it has played."""
        query = "SELECT one, other, MAX(begin + CAST(deals AS INTEGER)) FROM matches GROUP BY one, other"
        with self._explain():
            return {(one, other): end for one, other, end in self.connection.execute(query)}

    def tallies(self, most: int | None = None) -> Mapping[tuple[str, str], np.ndarray]:
        """Returns the tally (9,) of each pair of digests, the smaller one first, on its first `most` deals.

        Raises Refused for numbers that are not finite.
        """
        sums = ", ".join(f"SUM({name})" for name in Tally._fields)
        query = f"SELECT one, other, {sums} FROM matches WHERE begin + deals <= ? GROUP BY one, other"
        with self._explain():
            rows = self.connection.execute(query, (math.inf if most is None else most,)).fetchall()
        tallies = {(one, other): np.array(numbers, float) for one, other, *numbers in rows}
        if not all(np.isfinite(each).all() for each in tallies.values()):
            raise Refused(f"{self.path} is damaged: it has numbers that are not finite; choose another run=")
        return tallies

    def _prepare(self) -> None:
        """Creates the tables of a new file. Raises Refused for another kind of file or layout."""
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA trusted_schema = OFF")
        with self._transaction():
            (application,) = self.connection.execute("PRAGMA application_id").fetchone()
            (layout,) = self.connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self.connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in SCHEMA.split(";\n"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self.connection.execute(f"PRAGMA user_version = {LAYOUT}")
            elif (application, layout) != (APPLICATION, LAYOUT):
                raise Refused(f"{self.path} is not a store of matches of this version; choose another run=")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A context whose statements all take effect, or none of them does."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """A context in which errors of SQLite become Refused, or Halted if the disk failed."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise Halted(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Refused(f"{self.path} is not a store of matches: {error}; choose another run=") from error
