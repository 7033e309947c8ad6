"""A SQLite file to which rows are only ever added.

It is in WAL mode, so several processes may read and write it, and a process may be killed at any moment: a transaction
is in the file completely or not at all. Triggers refuse to change or remove rows. Values are numbers and texts; nothing
in the file is executed or unpickled.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marl_engine.errors import Halted, Refused

APPLICATION = 0x6D61726C  # "marl", in the header of the file
PATIENCE = 60.0  # seconds that a process waits for another one to finish writing
ABOUT = "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"


class AppendOnlyFile:
    """A file with some tables, of which the layout has a number.

    `tables` are the statements that create them, and `table` is the one whose rows are guarded by triggers. Raises
    Refused if the file at `path` is something else.
    """

    def __init__(self, path: Path, tables: Sequence[str], table: str, layout: int):
        self.path, self.layout = path, layout
        self.schema = [ABOUT, *tables, *guards(table)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.explain():
            self.connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._prepare()

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    def agree(self, **about: Any) -> None:
        """Notes what all rows have in common, such as the game. Raises Refused if earlier ones differ."""
        for key, value in about.items():
            text = json.dumps(value, sort_keys=True)
            with self.explain():
                self.connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, text))
                (before,) = self.connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
            if before != text:
                raise Refused(
                    f"the matches in {self.path} were played with {key}={before}, not {text}; choose another run="
                )

    def add(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Executes a statement that inserts, for all rows or for none."""
        with self.explain(), self._transaction():
            self.connection.executemany(statement, rows)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        with self.explain():
            return self.connection.execute(query, values).fetchall()

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
                for statement in self.schema:
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self.connection.execute(f"PRAGMA user_version = {self.layout}")
            elif (application, layout) != (APPLICATION, self.layout):
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
    def explain(self) -> Iterator[None]:
        """A context in which errors of SQLite become Refused, or Halted if the disk failed."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise Halted(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Refused(f"{self.path} is not a store of matches: {error}; choose another run=") from error


def guards(table: str) -> list[str]:
    """Returns statements after which rows of a table can be neither removed nor changed."""
    refuse = f"BEGIN SELECT raise(ABORT, '{table} are only added'); END"
    return [
        f"CREATE TRIGGER keep BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER fixed BEFORE UPDATE ON {table} {refuse}",
    ]
