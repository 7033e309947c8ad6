"""Runs jobs in worker processes of this machine, with the results of every other runner in the same order."""

import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from operator import itemgetter
from threading import Thread

import torch

from marl_engine.errors import Halted
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.threads import count_free_cores
from marl_engine.runners.resident import become_worker, is_worker
from marl_engine.types import Argument, Result


@dataclass
class ProcessRunner:
    """Runs jobs in `workers` processes, which start with the first jobs and use one thread each.

    A single job runs in the process of the run, and jobs of a job in its worker. Raises ValueError for less than one
    worker.
    """

    workers: int | None = None  # None: as many as there are free cores
    pool: ProcessPoolExecutor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_fields("runner", self, "workers", least=1, whole=True)

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """Returns the results of a job for each argument. Raises Halted if a worker dies."""
        return [result for _, result in sorted(self.complete(job, arguments), key=itemgetter(0))]

    def complete(
        self, job: Callable[[Argument], Result], arguments: Iterable[Argument]
    ) -> Iterator[tuple[int, Result]]:
        """Yields the number of each argument and its result as the jobs end. Raises Halted if a worker dies."""
        jobs = list(arguments)
        if len(jobs) < 2 or is_worker():
            yield from enumerate(map(job, jobs))
            return
        if self.pool is None:
            workers = self.workers or count_free_cores()
            self.pool = ProcessPoolExecutor(workers, choose_context(), prepare_worker)
        messages = [pickle.dumps((job, argument)) for argument in jobs]  # tensors do not go through shared memory,
        try:  # which can be small
            numbers = {self.pool.submit(run_message, message): number for number, message in enumerate(messages)}
            for future in as_completed(numbers):
                yield numbers[future], pickle.loads(future.result())
        except BrokenProcessPool as error:
            self.pool = None
            raise Halted("a worker process died; is there enough memory for runner.workers?") from error


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
    return pickle.dumps(job(argument))


def prepare_worker() -> None:
    """Leaves Ctrl-C to the process of the run, ends with it, and uses one thread."""
    become_worker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Ends this process when the process of the run has ended in any way."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
