"""A SQLite file with verdicts of endpoints, shared by all runs."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from games.preference.judges.verdicts import VERSION
from marl_engine.errors import Halted


def question_digest(url: str, body: bytes) -> str:
    """Returns the key of a verdict: a hash of all that can change it, including the version of the parser.

    The body contains the model, its options, the filled-in template and both answers in order.
    """
    return hashlib.sha256(json.dumps([VERSION, url, body.decode()]).encode()).hexdigest()


@contextmanager
def open_verdicts(path: str | None) -> Iterator[sqlite3.Connection]:
    """Opens or creates a file of verdicts; None: an empty cache in memory. Raises Halted."""
    try:
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)) as verdicts:
            verdicts.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict REAL)")
            yield verdicts
    except (sqlite3.Error, OSError) as error:
        raise Halted(f"game.judge.cache: {path} cannot be used: {error}") from error


def look_up(verdicts: sqlite3.Connection, keys: list[str]) -> dict[str, float]:
    """Returns the verdicts that exist for the given keys."""
    text = "SELECT key, verdict FROM verdicts WHERE key IN (SELECT value FROM json_each(?))"
    return dict(verdicts.execute(text, [json.dumps(keys)]))


def store_verdict(verdicts: sqlite3.Connection, key: str, verdict: float) -> None:
    """Saves a verdict immediately, so that it survives a crash."""
    verdicts.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", [key, verdict])
