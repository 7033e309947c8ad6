"""Copies of an environment that are stepped one by one and write their turns into arrays.

The seed of an episode is a function of the copy's seed and the number of the episode. Episodes restart automatically.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from games.pettingzoo.drivers import Position, drive
from games.pettingzoo.makers import Maker
from games.pettingzoo.spaces import Layout, find_mask

NOTHING: dict[str, Any] = {}


class Rows(NamedTuple):
    """What B copies with P seats share with the game: their turns, and the actions to play."""

    observation: np.ndarray  # (B, P, …)
    final: np.ndarray  # (B, P, …) last observations of truncated episodes
    legal: np.ndarray  # (B, P, A) bool
    acting: np.ndarray  # (B, P) bool
    alive: np.ndarray  # (B, P) bool
    final_acting: np.ndarray  # (B, P) bool
    reward: np.ndarray  # (B, P) float32
    done: np.ndarray  # (B,) bool
    truncated: np.ndarray  # (B,) bool
    action: np.ndarray  # (B, P) or (B, P, K) int64, or (B, P, D) float32


def row_types(layout: Layout, copies: int) -> list[tuple[tuple[int, ...], Any]]:
    """Returns the shape and the type of each array of `Rows`."""
    seats = (copies, len(layout.agents))
    seen = ((*seats, *layout.shape), layout.dtype)
    action = (seats, np.int64) if not layout.branches else ((*seats, len(layout.branches)), np.int64)
    if layout.low is not None:
        action = ((*seats, len(layout.low)), np.float32)  # type: ignore[assignment]
    masks = [((*seats, layout.legal.shape[1]), bool), *[(seats, bool)] * 3]
    return [seen, seen, *masks, (seats, np.float32), ((copies,), bool), ((copies,), bool), action]


def count_bytes(layout: Layout, copies: int) -> int:
    """Returns the size of `Rows` in memory; every array begins at a multiple of 8."""
    return sum(-(-prod(shape) * np.dtype(kind).itemsize // 8) * 8 for shape, kind in row_types(layout, copies))


def place_rows(layout: Layout, copies: int, memory: Any = None) -> Rows:
    """Returns the arrays of copies, which lie in `memory`, such as that shared by processes, or in new memory."""
    memory = np.zeros(count_bytes(layout, copies), np.uint8) if memory is None else memory
    arrays, begin = [], 0
    for shape, kind in row_types(layout, copies):
        arrays.append(np.frombuffer(memory, kind, prod(shape), begin).reshape(shape))
        begin += -(-prod(shape) * np.dtype(kind).itemsize // 8) * 8
    return Rows(*arrays)


def episode_seed(seed: int, number: int) -> int:
    """Returns the seed, from 0 to 2**31 - 1, of episode `number` of a copy."""
    return int(np.random.SeedSequence([seed % 2**64, number]).generate_state(1)[0] >> 1)


class Copy:
    """One environment, and its rows of the arrays."""

    def __init__(self, env: Any, layout: Layout, rows: Sequence[np.ndarray]):
        self.driver, self.layout, self.rows = drive(env), layout, Rows(*rows)
        self.seats = Seats({agent: seat for seat, agent in enumerate(layout.agents)})
        self.seed = self.number = 0  # of the copy, and of the episode
        self.movers: list[Any] = []
        self.masked = False  # whether some actions are illegal besides those that an agent never has

    def open(self, seed: int, number: int) -> None:
        """Starts an episode."""
        self.seed, self.number = seed, number
        rows = self.rows
        rows.observation[...] = 0
        rows.legal[...] = self.layout.legal
        rows.alive[...] = True
        self._show(self.driver.open(episode_seed(seed, number)))

    def step(self) -> None:
        """Plays the actions in the rows; if the episode is over, the next one is opened."""
        layout, rows, seats, reads = self.layout, self.rows, self.seats, self.layout.reads
        chosen = rows.action if layout.low is not None else rows.action.tolist()
        result = self.driver.step({agent: reads[seats[agent]](chosen[seats[agent]]) for agent in self.movers})
        rows.reward[...] = 0
        for agent, reward in result.rewards.items():
            rows.reward[seats[agent]] += reward
        if not result.movers:
            self._close(result)
            return
        rows.done[...] = rows.truncated[...] = False
        for agent, ended in result.terminations.items():
            if ended or result.truncations[agent]:
                rows.alive[seats[agent]] = False
        self._show(result)

    def _show(self, position: Position) -> None:
        """Writes what agents see and who moves."""
        layout, rows, seats = self.layout, self.rows, self.seats
        for agent, observation in position.observations.items():
            layout.writes[seats[agent]](observation, rows.observation[seats[agent]])
        if position.movers != self.movers:
            rows.acting[...] = False
            rows.acting[[seats[agent] for agent in position.movers]] = True
            self.movers = list(position.movers)
        if layout.low is not None:
            return
        if self.masked:
            rows.legal[...] = layout.legal
        for agent in self.movers:
            mask = find_mask(position.observations.get(agent), position.infos.get(agent, NOTHING))
            if mask is not None:
                self.masked = True
                rows.legal[seats[agent]] = False
                rows.legal[seats[agent], layout.places[seats[agent]]] = mask

    def _close(self, result: Position) -> None:
        """Writes the end of an episode, which is truncated if no agent is terminated, and opens the next one."""
        rows = self.rows
        truncated = any(result.truncations.values()) and not any(result.terminations.values())
        rows.done[...], rows.truncated[...] = True, truncated
        if truncated:
            rows.final[...] = rows.observation
            rows.final_acting[...] = False
            for agent, observation in result.observations.items():
                self.layout.writes[self.seats[agent]](observation, rows.final[self.seats[agent]])
            rows.final_acting[[self.seats[agent] for agent in result.next_movers]] = True
        self.open(self.seed, self.number + 1)

    def replay(self, seed: int, number: int, actions: np.ndarray) -> bool:
        """Plays an episode again from its actions (T, P, …); returns whether it is still going on."""
        self.open(seed, number)
        for each in actions:
            self.rows.action[...] = each
            self.step()
            if self.number != number:
                return False
        return True


class Seats(dict[Any, int]):
    """The seat of each agent."""

    def __missing__(self, agent: Any) -> int:
        raise LookupError(f"the environment has an agent {agent!r} that is not one of its possible_agents {list(self)}")


def rows_of(rows: Rows, copy: int) -> list[np.ndarray]:
    """Returns the rows of one copy, as views that can be assigned to."""
    return [each[copy] if each.ndim > 1 else each[copy : copy + 1] for each in rows]


class Batch:
    """Copies of an environment in this process, with their rows."""

    def __init__(self, maker: Maker, layout: Layout, rows: Rows):
        self.rows = rows
        self.copies = [Copy(maker.make(), layout, rows_of(rows, copy)) for copy in range(len(rows.done))]

    def open(self, seeds: Iterable[tuple[int, int, int]]) -> None:
        """Starts episodes (copy, seed of the copy, number of the episode)."""
        for copy, seed, number in seeds:
            self.copies[copy].open(seed, number)

    def replay(self, episodes: Iterable[tuple[int, int, int, np.ndarray]]) -> list[bool]:
        """Plays episodes (copy, seed, number, actions) again; see `Copy.replay`."""
        return [self.copies[copy].replay(seed, number, actions) for copy, seed, number, actions in episodes]

    def step(self, episodes: Any = None) -> None:
        """Plays the actions in the rows. The episodes before it are of no use here; see `workers.WorkerBatch`."""
        for copy in self.copies:
            copy.step()
