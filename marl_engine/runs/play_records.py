"""Records of the games that people played: one JSON line for each, in the folder `play` of a run.

A record has what a store of matches needs (who sat where, the payoffs), and what the game is a function of (its
configuration, the seed and all actions), so that it can be watched again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from marl_engine.errors import Refused

FOLDER, GAMES, COMPARISONS = "play", "games.jsonl", "comparisons.jsonl"
PERSON = "human:"  # begins the name of a person, who is not a run


@dataclass(frozen=True)
class GameRecord:
    """One game that was played to its end."""

    players: list[str]  # (P,) the entrant in each seat: human:NAME, or the folder of the run that plays it
    payoffs: list[float]  # (P,)
    seed: int  # of the game; see `Game.reset`
    actions: list[list[int]]  # (T, P) of all seats; 0 where a seat did not act
    greedy: bool  # whether the policies took their most probable actions
    iteration: int  # of the policies' checkpoint
    game: dict[str, Any]  # the section `game` of the run's configuration
    ended: str  # UTC, in ISO 8601

    @property
    def seat(self) -> int:
        """The first seat that a person had."""
        return next(seat for seat, name in enumerate(self.players) if name.startswith(PERSON))


RECORD = TypeAdapter(GameRecord)


def find_games(run: Path) -> Path:
    """Returns the file of the games that people played with a run."""
    return run / FOLDER / GAMES


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Appends a JSON line to a file, in one write, so that lines of several processes do not mix. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"{json.dumps(content, ensure_ascii=False)}\n".encode())
    finally:
        os.close(handle)


def append_record(path: Path, record: GameRecord) -> None:
    """Appends a game to a file. Raises OSError."""
    append_line(path, asdict(record))


def read_records(path: Path) -> list[GameRecord]:
    """Returns the games in a file, without damaged lines; none if there is no file."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [record for line in lines if (record := parse_record(line)) is not None]


def parse_record(line: bytes) -> GameRecord | None:
    """Returns the game of a line; None if the line is damaged."""
    try:
        record = RECORD.validate_json(line, strict=True)
    except ValidationError:
        return None
    seats = len(record.players)
    is_whole = len(record.payoffs) == seats and all(len(row) == seats for row in record.actions)
    return record if is_whole and any(name.startswith(PERSON) for name in record.players) else None


def select_record(path: Path, number: int) -> GameRecord:
    """Returns a game of a file by its number, from 0. Raises Refused."""
    records = read_records(path)
    if number >= len(records):
        raise Refused(f"there is no game {number}; {len(records)} have been played")
    return records[number]
