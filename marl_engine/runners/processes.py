"""Runs jobs in worker processes of this machine, with the results of every other runner in the same order."""

import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any

import torch

from marl_engine.errors import Halted
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.threads import count_free_cores
from marl_engine.runners.background import Background
from marl_engine.runners.gang import Gang
from marl_engine.runners.local import in_order
from marl_engine.runners.packets import dump_plain
from marl_engine.runners.resident import become_worker, is_worker
from marl_engine.types import Argument, Result


@dataclass
class ProcessRunner:
    """Runs jobs in `workers` processes, which start with the first jobs and use one thread each.

    A single job runs in the process of the run, and jobs of a job in its worker. Raises ValueError for less than one
    worker.
    """

    workers: int | None = None  # None: as many as there are free cores
    overlap: bool = False  # learners learn while workers play; see `responders.overlap`
    learners: int = 1  # processes that learn together, besides the workers; see `runners.gang`
    pool: ProcessPoolExecutor | None = field(init=False, default=None)
    end: Connection | None = field(init=False, default=None)  # whatever is sent on it ends the workers
    gang: Gang | None = field(init=False, default=None)
    background: Background[Any] | None = field(init=False, default=None)  # the last jobs that were started

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_fields("runner", self, "workers", least=1, whole=True)
        check_fields("runner", self, "learners", least=1, whole=True)

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """Returns the results of a job for each argument. Raises Halted if a worker dies."""
        return in_order(self.complete(job, arguments))

    def complete(
        self, job: Callable[[Argument], Result], arguments: Iterable[Argument]
    ) -> Iterator[tuple[int, Result]]:
        """Yields the number of each argument and its result as the jobs end. Raises Halted if a worker dies.

        If not all results are taken, because of an exception of a job or a signal, the other jobs are abandoned.
        """
        jobs = list(arguments)
        if len(jobs) < 2 or is_worker():
            yield from enumerate(map(job, jobs))
            return
        if self.background is not None:
            self.background.end()
        yield from self._complete(job, jobs)

    def start(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> Callable[[], list[Result]]:
        """Begins jobs in the workers; the function that it returns waits for their results. See `BackgroundRunner`."""
        jobs = list(arguments)
        if is_worker():
            return lambda: [job(each) for each in jobs]
        self.pool = self.pool or self._start()
        self.background = Background(lambda: in_order(self._complete(job, jobs)), self.background)
        return self.background.take

    def for_learners(self) -> "tuple[ProcessRunner, str]":
        """See `GangRunner`."""
        return ProcessRunner(self.learners), "127.0.0.1"

    def _complete(self, job: Callable[[Argument], Result], jobs: Sequence[Argument]) -> Iterator[tuple[int, Result]]:
        """See `complete`."""
        pool = self.pool = self.pool or self._start()
        # Pickled here, since the pool would move tensors through shared memory, which can be small.
        messages = [dump_plain((job, argument)) for argument in jobs]
        numbers = {pool.submit(run_message, message): number for number, message in enumerate(messages)}
        try:
            for future in as_completed(numbers):
                result = pickle.loads(future.result())
                yield numbers.pop(future), result
        except BrokenProcessPool as error:
            raise Halted("a worker process died; is there enough memory for runner.workers?") from error
        finally:
            if numbers:
                self._abandon(pool)

    def _start(self) -> ProcessPoolExecutor:
        """Returns a pool whose workers end with this process, or when something is sent on `end`."""
        context = choose_context()
        heard, self.end = context.Pipe(duplex=False)
        return ProcessPoolExecutor(self.workers or count_free_cores(), context, prepare_worker, (heard,))

    def _abandon(self, pool: ProcessPoolExecutor) -> None:
        """Ends the workers, whatever they do. This process could not end before their jobs otherwise."""
        if self.end is not None:
            self.end.send_bytes(b"end")
        pool.shutdown(wait=False, cancel_futures=True)
        self.pool = None


def choose_context() -> BaseContext:
    """Returns how workers start: forked from a process that has torch and no threads, or anew where none can fork."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "numba"])
    return context


def run_message(message: bytes) -> bytes:
    """Runs a pickled job on its argument; returns the pickled result."""
    job, argument = pickle.loads(message)
    return dump_plain(job(argument))


def prepare_worker(end: Connection) -> None:
    """Leaves Ctrl-C to the process of the run, and uses one thread. See `end_with_run` for `end`."""
    become_worker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    Thread(target=end_with_run, args=(end,), daemon=True).start()


def end_with_run(end: Connection) -> None:
    """Ends this process when the process of the run has ended in any way, or when something was sent on `end`."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel, end])
        os._exit(1)
