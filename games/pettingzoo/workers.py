"""Copies of an environment in worker processes, which share the arrays of turns and actions with the game.

A worker that dies, or takes longer than `patience` seconds for a step, is replaced, and the new worker plays the
actions of its copies again. If the new worker fails in the same step, a third one starts new episodes of the copies,
and the old ones count as truncated in this step. If the third one fails, too, or games are cut off again and again (see
`failures.Losses`), the run stops.
"""

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from weakref import finalize

import numpy as np

from games.pettingzoo.copies import Batch, Rows, count_bytes, place_rows
from games.pettingzoo.failures import EnvironmentFailed, Losses, describe_failure
from games.pettingzoo.makers import Maker
from games.pettingzoo.spaces import Layout, layout_of
from marl_engine.errors import Halted

STARTS = 120.0  # seconds that a worker may take to start
Episode = tuple[int, int, int, np.ndarray]  # copy, seed, number, and actions (T, P, …) so far
DONE, FAILED = "done", "failed"


class Lost(Exception):
    """A worker has died, or has not answered in time."""


def serve(pipe: Connection, maker: Maker, pixels: int | None, memory: Any, copies: int, first: int, last: int) -> None:
    """Runs in a worker: plays the copies from `first` to `last` as it is told, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the game decides when to stop
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            layout = layout_of(maker.make(), pixels)
            rows = place_rows(layout, copies, memory)
            batch = Batch(maker, layout, Rows(*(each[first:last] for each in rows)))
        except Exception as error:
            pipe.send((FAILED, describe_failure(error)))
            return
        pipe.send((DONE, None))
        while True:
            method, arguments = pipe.recv()
            try:
                pipe.send((DONE, getattr(batch, method)(*arguments)))
            except Exception as error:
                pipe.send((FAILED, describe_failure(error)))


class Worker:
    """A process with some of the copies. Raises Lost if it does not answer."""

    def __init__(self, maker: Maker, pixels: int | None, memory: Any, copies: int, first: int, last: int):
        context = get_context("spawn")
        self.first, self.last = first, last
        self.pipe, other = context.Pipe()
        arguments = (other, maker, pixels, memory, copies, first, last)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        other.close()
        finalize(self, end_process, self.process, self.pipe)

    def send(self, method: str, *arguments: Any) -> None:
        """Tells the worker to call a method of its batch."""
        with suppress(BrokenPipeError, ConnectionResetError):  # noticed when its answer is awaited
            self.pipe.send((method, arguments))

    def receive(self, patience: float) -> Any:
        """Returns the result. Raises EnvironmentFailed if the environment raised an exception."""
        try:
            if not self.pipe.poll(patience):
                raise Lost(f"did not answer for {patience:g} seconds")
            outcome, value = self.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join(1.0)
            raise Lost(f"died with exit code {self.process.exitcode}") from error
        if outcome == FAILED:
            raise EnvironmentFailed(value)
        return value


def end_process(process: Any, pipe: Connection) -> None:
    """Ends a worker."""
    pipe.close()
    process.kill()
    process.join(5.0)


class WorkerBatch:
    """Copies of an environment in worker processes; see `copies.Batch`."""

    def __init__(
        self,
        maker: Maker,
        layout: Layout,
        pixels: int | None,
        copies: int,
        workers: int,
        patience: float,
        losses: Losses,
    ):
        self.maker, self.pixels, self.copies, self.patience = maker, pixels, copies, patience
        self.losses = losses
        self.memory = get_context("spawn").RawArray("b", count_bytes(layout, copies))
        self.rows = place_rows(layout, copies, self.memory)
        edges = np.linspace(0, copies, min(workers, copies) + 1).astype(int).tolist()
        self.workers = [self._start(*each) for each in pairwise(edges)]
        self._receive_all()

    def _start(self, first: int, last: int) -> Worker:
        return Worker(self.maker, self.pixels, self.memory, self.copies, first, last)

    def open(self, seeds: Sequence[tuple[int, int, int]]) -> None:
        """Starts episodes (copy, seed of the copy, number of the episode)."""
        self._call("open", seeds)

    def replay(self, episodes: Sequence[Episode]) -> list[bool]:
        """Plays episodes again, those of all copies in order; returns which of them are still going on."""
        return [each for answer in self._call("replay", episodes) for each in answer]

    def step(self, episodes: Callable[[Sequence[int]], list[Episode]]) -> None:
        """Plays the actions in the rows; `episodes` returns those of copies before it, for a new worker."""
        actions, self.losses.steps = self.rows.action.copy(), self.losses.steps + 1
        for worker in self.workers:
            worker.send("step")
        failure: EnvironmentFailed | None = None
        for place, worker in enumerate(self.workers):  # all of them answer, also if the environment of one has failed
            try:
                worker.receive(self.patience)
            except Lost as loss:
                self.workers[place] = self._replace(place, loss, actions, episodes)
            except EnvironmentFailed as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _call(self, method: str, items: Sequence[Any]) -> list[Any]:
        """Calls a method of all workers with the items of their copies, which are the first numbers of items."""
        for worker in self.workers:
            own = [(item[0] - worker.first, *item[1:]) for item in items if worker.first <= item[0] < worker.last]
            worker.send(method, own)
        return self._receive_all()

    def _receive_all(self) -> list[Any]:
        """Returns the results of all workers. Raises Halted if one is lost."""
        try:
            return [worker.receive(STARTS) for worker in self.workers]
        except Lost as loss:
            raise Halted(f"a worker of {self.maker.name} {loss}") from loss

    def _replace(
        self, place: int, loss: Lost, actions: np.ndarray, episodes: Callable[[Sequence[int]], list[Episode]]
    ) -> Worker:
        """Returns a new worker for one that is lost, after the step that is being taken."""
        lost = self.workers[place]
        end_process(lost.process, lost.pipe)
        label = f"worker {place + 1} of {len(self.workers)} for {self.maker.name} {loss}"
        present = episodes(range(lost.first, lost.last))
        try:
            worker = self._revive(lost, present, actions)
            self.losses.note(1, 0, f"{label}, and was replaced; its games go on")
        except Lost as again:
            label = f"{label}, and the one in its place {again}"
            worker = self._renew(lost, present, label)
            fate = "its games start anew, and those that were cut off count as truncated"
            self.losses.note(2, lost.last - lost.first, f"{label}; {fate}")
        return worker

    def _renew(self, lost: Worker, episodes: list[Episode], label: str) -> Worker:
        """Returns a new worker for a lost one, whose copies start new episodes. Raises Halted."""
        fresh = [(copy, seed, number + 1, actions[:0]) for copy, seed, number, actions in episodes]
        try:
            worker = self._revive(lost, fresh, None)
        except Lost as last:
            raise Halted(f"{label}, and a third one {last}") from last
        self._end_episodes(slice(lost.first, lost.last))
        return worker

    def _revive(self, lost: Worker, episodes: list[Episode], actions: np.ndarray | None) -> Worker:
        """Returns a new worker with the copies of a lost one, after the actions of the present step, if there are any.

        Raises Lost.
        """
        worker = self._start(lost.first, lost.last)
        worker.receive(STARTS)
        worker.send("replay", [(copy - lost.first, *rest) for copy, *rest in episodes])
        if not all(worker.receive(STARTS)):
            raise Lost("comes to another position by the same actions")
        if actions is not None:
            self.rows.action[lost.first : lost.last] = actions[lost.first : lost.last]
            worker.send("step")
            worker.receive(self.patience)
        return worker

    def _end_episodes(self, copies: slice) -> None:
        """Writes that episodes were cut short, with outcomes that nobody knows."""
        rows = self.rows
        rows.reward[copies] = 0
        rows.done[copies] = rows.truncated[copies] = True
        rows.final[copies], rows.final_acting[copies] = rows.observation[copies], False
