"""PettingZoo environments as games: agents are seats; copies are stepped one by one, or by worker processes.

It departs from PettingZoo in four ways. Rewards are paid in the step in which they arise, also to agents that wait; a
learner credits a decision with all rewards until the agent's next decision. Actions outside a box are clipped. Each
episode has its own seed, a function of the copy's seed and the number of the episode. If agents end in the same step in
different ways, some by the rules and some by a time limit, the episode counts as ended by the rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from warnings import warn
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from games.pettingzoo.copies import Batch, Copy, Rows, place_rows, rows_of
from games.pettingzoo.failures import Losses, report_failures
from games.pettingzoo.makers import Maker
from games.pettingzoo.names import is_competitive, preset_of
from games.pettingzoo.pace import choose_workers
from games.pettingzoo.spaces import layout_of
from games.pettingzoo.workers import Episode, WorkerBatch
from marl_engine.errors import Halted, Notice, Refused
from marl_engine.numerics.checks import check_fields
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Metrics, Turn

LARGEST = 400  # pixels of the longer side of a picture


@dataclass
class PettingZoo:
    """B copies of a PettingZoo environment; P seats are its possible agents.

    Raises ValueError for an environment that does not exist or is not installed, for arguments that it does not take,
    and for spaces that cannot be played.
    """

    env: str = "mpe2.simple_spread_v3"  # a module, a part of its name, or a function: my_package:make
    arguments: dict[str, Any] = field(default_factory=dict)  # of the environment
    pixels: int | None = None  # observations are pictures: every so many-th row and column, scaled to [0, 1]
    workers: int | None = None  # processes that step the copies; 0: this one; null: whichever is faster
    patience: float = 60.0  # seconds after which a worker that does not answer is replaced
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False, default=False)
    competitive: bool = field(init=False)  # False also where nobody knows

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_fields("game", self, "workers", least=0, whole=True)
        if self.pixels is not None:
            check_fields("game", self, "pixels", least=1, whole=True)
        check_fields("game", self, "patience", above=0)
        self.maker = Maker(self.env, self.arguments)
        with report_failures(self.env, Refused):
            self.layout = layout_of(self.maker.make(), self.pixels)
        self.players, self.actions = self.layout.legal.shape
        self.competitive = is_competitive(self.env)
        self.observation_shape = self.layout.shape
        low, high = (None if each is None else torch.from_numpy(each) for each in (self.layout.low, self.layout.high))
        action = ActionSpace(self.actions, low, high, branches=self.layout.branches)
        kind = torch.uint8 if self.layout.dtype == np.uint8 else torch.float32
        self.spaces = Spaces(self.observation_shape, action, kind, self.layout.groups)
        self.batch: Batch | WorkerBatch | None = None  # None before `reset`
        self.idle: dict[int, list[Batch | WorkerBatch]] = {}  # batches that no game uses, by their number of copies
        self.losses = Losses()  # of this game and its copies
        self.past: list[np.ndarray] = []  # actions (B, P, …) of the last steps, as many as the longest episode has
        self.screen: Copy | None = None  # the copy that is drawn
        self.give_back: Callable[[], Any] = bool  # called when the batch is no longer used

    @staticmethod
    def better_preset(values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Returns the preset with settings for an environment, and why it is taken; None if there is none."""
        preset = preset_of(str(values.get("env", PettingZoo.env)))
        return None if preset is None else (preset, f"{values.get('env', PettingZoo.env)} has settings of its own")

    def describe(self) -> str:
        """Says how copies are stepped, which is measured first if it is not given."""
        try:
            workers = self._count_workers()
        except Halted as error:
            raise Refused(str(error)) from error
        return f"in {workers} worker process{'es' if workers > 1 else ''}" if workers else "in process"

    def costs(self) -> Metrics:
        """Returns the numbers of workers that were lost and of games that were cut off, if there are any."""
        return self.losses.counts()

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds."""
        try:
            with report_failures(self.env, Refused):
                batch = self._begin(
                    {"seed": seeds, "openings": torch.zeros_like(seeds), "clock": torch.zeros_like(seeds)}
                )
                batch.open([(each, seed, 0) for each, seed in enumerate(self.seeds.tolist())])
        except Halted as error:
            raise Refused(str(error)) from error
        return self._turn()

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, P) or (B, P, K) int64, or (B, P, D) float32.

        Raises ValueError, and plays nothing, for another shape or type, and Halted if an environment raises an
        exception.
        """
        expected = torch.from_numpy(self.rows.action)
        if actions.shape != expected.shape or actions.dtype != expected.dtype:
            raise ValueError(
                f"actions must be {expected.dtype} {tuple(expected.shape)}, not {actions.dtype} {tuple(actions.shape)}"
            )
        self.rows.action[...] = played = actions.cpu().numpy().copy()
        assert self.batch is not None
        with report_failures(self.env, Halted):
            self.batch.step(self.episodes)
        self._note(played)
        return self._turn()

    def state(self) -> dict[str, Tensor]:
        """Returns each copy's seed, number of episodes and steps, its actions, and what it shows."""
        past = np.stack(self.past) if self.past else self.rows.action[None][:0]
        arrays = {"seed": self.seeds, "openings": self.openings, "clock": self.clock, "past": past}
        return {name: torch.from_numpy(each.copy()) for name, each in (arrays | self._shown()).items()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Plays all actions of the present episodes again. Copies that do not come to the same position start anew.

        Raises Halted if the environment raises an exception.
        """
        with report_failures(self.env, Halted):
            batch = self._begin(state)
            self.past.extend(state["past"].numpy().copy())
            going = batch.replay(self.episodes(range(len(self.seeds))))
        shown = {name: each.copy() for name, each in self._shown().items()}
        same = [
            all(np.array_equal(each[copy], state[name].numpy()[copy]) for name, each in shown.items())
            for copy in range(len(going))
        ]
        stale = np.array([not each for each in map(all, zip(going, same, strict=True))], bool)
        self.openings[stale] += 1
        self.clock[stale] = 0
        numbers = np.flatnonzero(stale).tolist()
        batch.open([(each, int(self.seeds[each]), int(self.openings[each])) for each in numbers])
        if stale.any():
            warn(
                Notice(f"{stale.sum()} of {len(stale)} copies of {self.env} cannot be restored and start anew"),
                stacklevel=2,
            )
        self._clear(stale)
        return self._turn()

    def episodes(self, copies: Sequence[int]) -> list[Episode]:
        """Returns the present episodes of some copies."""
        blank = self.rows.action[None][:0]
        past = np.stack(self.past) if self.past else blank
        return [
            (each, int(self.seeds[each]), int(self.openings[each]), past[len(past) - self.clock[each] :, each])
            for each in copies
        ]

    def render(self, copy: int = 0, caption: str = "") -> np.ndarray:
        """Returns the environment's own picture (H, W, 3) uint8, at most LARGEST pixels wide and high.

        An environment of its own is drawn, in which the copy's actions are played again; the caption is left out.
        Raises Refused if it draws no pictures.
        """
        ((_, seed, number, actions),) = self.episodes([copy])
        if self.screen is None:
            env, self.obeys = self.maker.make_drawable()
            self.screen, self.drawn = Copy(env, self.layout, rows_of(place_rows(self.layout, 1), 0)), 0
        if (self.screen.seed, self.screen.number) != (seed, number) or not 0 < self.drawn <= len(actions):
            self.screen.open(seed, number)
            self.drawn = 0
        for each in actions[self.drawn :]:
            self.screen.rows.action[...] = each
            self.screen.step()
        self.drawn = len(actions)
        picture = self._draw()
        shrink = -(-max(picture.shape[:2]) // LARGEST)
        return np.ascontiguousarray(picture[::shrink, ::shrink, :3], np.uint8)

    def __deepcopy__(self, memo: dict[int, Any]) -> "PettingZoo":
        """A game with copies of its own, since environments cannot be copied: the same actions are played in them."""
        other = memo[id(self)] = object.__new__(type(self))
        vars(other).update(vars(self))
        other.batch = other.screen = None
        other.past, other.give_back = [], bool
        if self.batch is not None:
            other.restore(self.state())
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Other processes make their own environments, and step them themselves."""
        fields = {name: vars(self)[name] for name in ("env", "arguments", "pixels", "patience", "device")}
        return {"fields": fields | {"workers": 0}, "state": None if self.batch is None else self.state()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state["fields"])  # type: ignore[misc]
        if state["state"] is not None:
            self.restore(state["state"])

    def _draw(self) -> np.ndarray:
        """Returns the picture of the environment that is drawn. Raises Refused if it is none."""
        assert self.screen is not None
        try:
            picture = self.screen.driver.env.render()
        except NotImplementedError:
            lack = "its environment has no render()"
        else:
            if isinstance(picture, np.ndarray) and picture.ndim == 3:
                return picture
            returned = f"its render() returns {type(picture).__name__}"
            lack = returned if self.obeys else "it takes no argument render_mode"
        raise Refused(
            f"{self.env} cannot be drawn: {lack}; a replay needs a function that takes render_mode='rgb_array', and an "
            "environment whose render() then returns an array (height, width, 3)"
        )

    def _count_workers(self) -> int:
        return choose_workers(self) if self.workers is None else self.workers

    @property
    def rows(self) -> Rows:
        """The arrays that the copies write into."""
        assert self.batch is not None
        return self.batch.rows

    def _begin(self, state: Mapping[str, Tensor]) -> Batch | WorkerBatch:
        """Returns as many copies as a state has; takes its seeds and numbers of episodes and steps."""
        numbers = (state[name].cpu().numpy().copy() for name in ("seed", "openings", "clock"))
        self.seeds, self.openings, self.clock = numbers
        self.past.clear()
        if self.batch is None or len(self.seeds) != len(self.rows.done):
            self.batch = self._take_batch(len(self.seeds))
        self._clear(np.zeros(len(self.seeds), bool))
        return self.batch

    def _take_batch(self, count: int) -> Batch | WorkerBatch:
        """Returns a batch of `count` copies that no game uses, or a new one; it is given back at the end of this game.

        A game is evaluated in copies of it that are short-lived.
        """
        self.give_back()
        idle = self.idle.setdefault(count, [])
        batch = idle.pop() if idle else self._make_batch(count)
        self.give_back = finalize(self, idle.append, batch)
        return batch

    def _make_batch(self, count: int) -> Batch | WorkerBatch:
        workers = min(self._count_workers(), count)
        if workers:
            return WorkerBatch(self.maker, self.layout, self.pixels, count, workers, self.patience, self.losses)
        return Batch(self.maker, self.layout, place_rows(self.layout, count))

    def _clear(self, done: np.ndarray) -> None:
        """Writes a step without rewards, after which some copies are done."""
        self.rows.reward[...], self.rows.done[...], self.rows.truncated[...] = 0, done, False

    def _note(self, played: np.ndarray) -> None:
        """Takes note of the actions (B, P, …) of a step."""
        done = self.rows.done
        self.past.append(played)
        self.openings += done
        self.clock = np.where(done, 0, self.clock + 1)
        del self.past[: len(self.past) - self.clock.max(initial=0)]

    def _shown(self) -> dict[str, np.ndarray]:
        """Returns what must be the same in a restored game."""
        return {name: self.rows._asdict()[name] for name in ("observation", "legal", "acting", "alive")}

    def _turn(self) -> Turn:
        """Returns the turn in the rows."""
        rows, final, final_acting = self.rows, None, None
        if rows.truncated.any():
            cut = rows.truncated.reshape(-1, *[1] * (rows.final.ndim - 1))
            final = torch.from_numpy(np.where(cut, rows.final, rows.observation))
            final_acting = torch.from_numpy(rows.final_acting | ~rows.truncated[:, None])
        names = ("observation", "legal", "acting", "alive", "done", "truncated", "reward")
        fields = {name: torch.from_numpy(rows._asdict()[name].copy()) for name in names}
        shaping = torch.zeros_like(fields["reward"])
        turn = Turn(**fields, shaping=shaping, final=final, final_acting=final_acting)
        return turn if self.device == "cpu" else turn.to(self.device)
