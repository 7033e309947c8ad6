"""The room: a trained player, the options of play, and a session for each tab of a browser."""

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused, describe
from marl_engine.play.activities import Activity, PlayedGame, WatchedGame
from marl_engine.play.judging import Judging
from marl_engine.play.messages import Leave, Message, Start, Watch
from marl_engine.play.table import check_playable
from marl_engine.runs.play_records import COMPARISONS, GAMES, read_records, select_record
from marl_engine.runs.players import Player

MOST_SESSIONS = 64
SHOWN_GAMES = 20  # of the newest records


class Page(Protocol):
    """The page that is connected to a session."""

    async def send(self, message: dict[str, Any]) -> None: ...

    async def replace(self) -> None:
        """Disconnects it, since another page takes its session over."""


@dataclass
class Room:
    """What the sessions of a page share. Raises Refused if people cannot play the game."""

    player: Player
    folder: Path  # of records
    ticks: float = 5.0  # steps a second: of games in real time, and of policies elsewhere
    greedy: bool = False
    rival: str = "trained"
    seed: int | None = None  # of the games; None: drawn
    sessions: dict[str, "Session"] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.judges = capabilities_of(self.player.game).text_preference is not None
        if not self.judges:
            check_playable(self.player.game)
            self.open(Start(type="start", name="nobody")).scene()  # compiles what is compiled, and fails early

    @property
    def games(self) -> Path:
        """The file of games."""
        return self.folder / GAMES

    def open(self, message: Start) -> Activity:
        """Returns a new game, or comparisons. Raises Refused."""
        seed, name = self.random.randrange(2**62), message.name
        if self.judges:
            return Judging(self.player, self.folder / COMPARISONS, name=name, seed=seed, rival=self.rival)
        return PlayedGame(
            self.player, self.games, seat=message.seat, name=name, seed=seed, pace=1 / self.ticks, greedy=self.greedy
        )

    def watch(self, number: int) -> Activity:
        """Returns a recorded game. Raises Refused."""
        return WatchedGame(self.player, select_record(self.games, number), pace=1 / self.ticks)

    def session(self, name: str | None) -> "Session":
        """Returns the session with a name, or a new one. Raises Refused if there are too many that are in use."""
        if name in self.sessions:
            return self.sessions[name]
        if len(self.sessions) >= MOST_SESSIONS:
            idle = next((each for each in self.sessions.values() if each.page is None), None)
            if idle is None:
                raise Refused(f"{MOST_SESSIONS} tabs play already; close one")
            idle.close()
        session = Session(self, secrets.token_urlsafe(16))
        self.sessions[session.name] = session
        return session

    def greeting(self) -> dict[str, Any]:
        """Returns what the page shows before a game."""
        records = list(enumerate(read_records(self.games)))
        return {
            "type": "room",
            "run": self.player.name,
            "game": type(self.player.game).__name__,
            "iteration": self.player.iteration,
            "seats": 1 if self.judges else self.player.game.players,
            "judges": self.judges,
            "ticks": self.ticks,
            "games": [
                {"number": number, "players": each.players, "payoffs": each.payoffs, "ended": each.ended}
                for number, each in records[: -SHOWN_GAMES - 1 : -1]
            ],
        }


class Session:
    """What one tab does. It goes on when the page is loaded anew, and pauses while no page is connected."""

    def __init__(self, room: Room, name: str):
        self.room, self.name = room, name
        self.activity: Activity | None = None
        self.page: Page | None = None
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def attach(self, page: Page) -> None:
        """Connects a page, in place of an earlier one, and shows it what is under way."""
        before, self.page = self.page, page
        if before is not None:
            await before.replace()
        await self._tell({**self.room.greeting(), "session": self.name})
        await self._show()
        self.changed.set()

    def detach(self, page: Page) -> None:
        """Disconnects a page, unless another one has taken its place."""
        if self.page is page:
            self.page = None

    def close(self) -> None:
        """Ends the session."""
        self.task.cancel()
        self.room.sessions.pop(self.name, None)

    async def take(self, message: Message) -> None:
        """Takes a message of the page, and shows what has changed. Raises Refused, OSError."""
        if isinstance(message, Start):
            self.activity = self.room.open(message)
        elif isinstance(message, Watch):
            self.activity = self.room.watch(message.game)
        elif isinstance(message, Leave):
            self.activity = None
        elif self.activity is None or self.activity.over:
            raise Refused("no game is under way; start one")
        else:
            self.activity.take(message)
        self.changed.set()
        if isinstance(message, Start | Watch | Leave):
            await self._show()

    async def _run(self) -> None:
        """Advances what is under way while a page is connected."""
        clock = asyncio.get_running_loop().time
        while True:
            activity = self.activity
            if self.page is None or activity is None or activity.over or activity.waits():
                self.changed.clear()
                await self.changed.wait()
                continue
            begin = clock()
            await self._advance(activity)
            await asyncio.sleep(activity.pace - (clock() - begin))

    async def _advance(self, activity: Activity) -> None:
        """Makes one step and shows it. An error ends the activity, not the session."""
        try:
            await asyncio.to_thread(activity.advance) if activity.slow else activity.advance()
            await self._show()
        except Exception as error:  # of any game, also a user's own
            self.activity = None if activity is self.activity else self.activity
            await self._tell({"type": "error", "text": describe(error)})
            await self._show()
        if activity.over:
            await self._tell(self.room.greeting())

    async def _show(self) -> None:
        scene = {"kind": "none"} if self.activity is None else self.activity.scene()
        await self._tell({"type": "scene", **scene})

    async def _tell(self, message: dict[str, Any]) -> None:
        if self.page is not None:
            await self.page.send(message)
