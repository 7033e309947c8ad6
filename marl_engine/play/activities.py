"""What goes on in a session of the page: a game with a person, or a recorded game that is watched."""

import base64
import io
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from marl_engine.errors import Refused
from marl_engine.play.messages import Message, Press, Release
from marl_engine.play.table import Table
from marl_engine.runs.play_records import PERSON, GameRecord, append_record
from marl_engine.runs.players import Player

LOG = 200  # moves that are shown


class Activity(Protocol):
    """Advances step by step, and takes messages of its session in between."""

    over: bool
    pace: float  # seconds from one step to the next
    slow: bool  # a step takes seconds, so others are not kept waiting for it

    def waits(self) -> bool:
        """Whether there is nothing to do before the next message."""

    def advance(self) -> None:
        """Makes one step. Raises OSError if a result cannot be saved."""

    def take(self, message: Message) -> None:
        """Takes a message. Raises Refused."""

    def scene(self) -> dict[str, Any]:
        """Returns what the page shows."""
        ...


class PlayedGame:
    """A game of a person, in one seat, with the policies of a run; recorded in a file when it is over."""

    slow = False

    def __init__(
        self, player: Player, file: Path, *, seat: int, name: str, seed: int, pace: float, greedy: bool = False
    ):
        if seat >= player.game.players:
            raise Refused(f"seat must be below {player.game.players}, not {seat}")
        self.player, self.file, self.seat, self.pace = player, file, seat, pace
        self.table = Table(player.game, player.profile, [seat], seed, viewer=seat, greedy=greedy)
        self.names = [f"{PERSON}{name}" if each == seat else player.name for each in range(player.game.players)]
        self.over = False
        self.repeated: int | None = None  # the action that is repeated in real time
        self.choice: int | None = None  # the action of the next decision

    def waits(self) -> bool:
        return not self.table.real_time and self.seat in self.table.acting and self.choice is None

    def take(self, message: Message) -> None:
        if isinstance(message, Release):
            self.repeated = None
            return
        if not isinstance(message, Press):
            raise Refused(f"a game takes no message {message.type!r}")
        self.table.check(self.seat, message.action)
        self.choice = self.repeated = message.action

    def advance(self) -> None:
        choices, self.choice = self._choices(), None
        self.table.advance(choices)
        if self.table.over:
            self.over = True
            append_record(self.file, self.record())

    def record(self) -> GameRecord:
        """Returns the record of the game."""
        table, ended = self.table, datetime.now(timezone.utc).isoformat(timespec="seconds")
        game, iteration = self.player.config["game"], self.player.iteration
        return GameRecord(self.names, table.payoffs, table.seed, table.actions, table.greedy, iteration, game, ended)

    def scene(self) -> dict[str, Any]:
        limit = self.player.config["game"].get("horizon")
        moves = [move._asdict() for move in self.table.moves(self.seat)]
        return table_scene(self.table, self.names, limit) | {"moves": moves}

    def _choices(self) -> dict[int, int]:
        """Returns the action of the person's seat, if it is to move: in real time the last one, or that of idleness."""
        if self.seat not in self.table.acting:
            return {}
        options = (self.choice, self.repeated, self.table.idle_action())
        return {self.seat: next(action for action in options if action is not None)}


class WatchedGame:
    """A recorded game, played again. Raises Refused if it is of another game than the run's."""

    slow = False

    def __init__(self, player: Player, record: GameRecord, *, pace: float):
        if record.game != player.config["game"]:
            raise Refused(f"the recorded game was {record.game}, which is not the game of {player.name}")
        self.player, self.names, self.pace, self.over = player, record.players, pace, not record.actions
        self.rows = iter(record.actions)
        self.table = Table(player.game, player.profile, range(len(self.names)), record.seed, viewer=record.seat)

    def waits(self) -> bool:
        return False

    def take(self, message: Message) -> None:
        raise Refused(f"a game that is watched takes no message {message.type!r}")

    def advance(self) -> None:
        row = next(self.rows, None)
        if row is None:
            raise Refused("the record ends before its game does")
        self.table.advance(dict(enumerate(row)))
        self.over = self.table.over

    def scene(self) -> dict[str, Any]:
        limit = self.player.config["game"].get("horizon")
        return table_scene(self.table, self.names, limit) | {"moves": [], "watched": True}


def table_scene(table: Table, names: Sequence[str], limit: Any) -> dict[str, Any]:
    """Returns what the page shows of a table."""
    clock = len(table.actions)
    caption = f"step {clock}   score {table.payoffs[table.viewer]:g}"
    return {
        "kind": "game",
        "players": names,
        "seat": table.viewer,
        "clock": clock,
        "limit": limit if isinstance(limit, int) else None,
        "payoffs": table.payoffs,
        "acting": table.acting,
        "over": table.over,
        "real_time": table.real_time,
        "picture": encode_picture(table.picture(caption)),
        "text": table.text(table.viewer),
        "log": table.log[-LOG:],
    }


def encode_picture(picture: np.ndarray | None) -> str | None:
    """Returns a picture (H, W, 3) uint8 as the address of a PNG image that contains its data."""
    from PIL import Image

    if picture is None:
        return None
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
