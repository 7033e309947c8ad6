"""Verdicts that were paid for, in a file of SQLite that all runs share."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from games.preference.judges.verdicts import VERSION
from marl_engine.errors import Halted


def digest(url: str, body: bytes) -> str:
    """The key of a verdict, of all that could change it: who was sent what, to the letter, and who read the reply.

    The body has the model, its options, the template as it was filled in, and both answers in their order.
    """
    return hashlib.sha256(json.dumps([VERSION, url, body.decode()]).encode()).hexdigest()


@contextmanager
def open_verdicts(path: str | None) -> Iterator[sqlite3.Connection]:
    """The verdicts of a file, made where there is none; None: for once only. Raises Halted."""
    try:
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)) as verdicts:
            verdicts.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict REAL)")
            yield verdicts
    except (sqlite3.Error, OSError) as error:
        raise Halted(f"game.judge.cache: {path} cannot be used: {error}") from error


def look_up(verdicts: sqlite3.Connection, keys: list[str]) -> dict[str, float]:
    """The verdicts that there are under some of these keys."""
    text = "SELECT key, verdict FROM verdicts WHERE key IN (SELECT value FROM json_each(?))"
    return dict(verdicts.execute(text, [json.dumps(keys)]))


def write(verdicts: sqlite3.Connection, key: str, verdict: float) -> None:
    """Saves a verdict at once, so that one that is paid for outlives a crash."""
    verdicts.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", [key, verdict])
