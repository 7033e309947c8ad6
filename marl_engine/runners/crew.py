"""The actors of a `RayRunner`: gives them jobs, replaces lost ones, and stores arrays that several jobs need."""

import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import chain, pairwise
from signal import SIGKILL
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError
from ray.util.client import ray as client

from marl_engine.errors import Halted, Notice, excerpt
from marl_engine.runners.packets import Packet, pack, unpack
from marl_engine.runners.ray import Worker
from marl_engine.types import Argument, Result

ATTEMPTS = 10  # workers in a row that one job may cost, or that may fail by an exception when they start; see `Losses`
STARTS = 20  # workers in a row that may be killed while they start
PATIENCE = 60.0  # seconds without any worker after which the run says what it waits for
STALE = 16  # calls after which an array that was not used again leaves the object store


class WorkerTraceback(Exception):
    """The traceback of an exception in a worker, shown as its cause."""

    def __str__(self) -> str:
        return f"in a worker\n{self.args[0]}"


class Task(NamedTuple):
    """A job under way: its number, the worker's, and when it should have ended."""

    job: int
    worker: int
    deadline: float


class Crew:
    """`count` actors, each with `num_cpus` CPUs and `num_gpus` GPUs.

    A job that takes longer than `timeout` seconds costs one.
    """

    def __init__(self, count: int, timeout: float | None = None, num_cpus: float = 1, num_gpus: float = 0):
        self.timeout, self.store, self.false_starts = timeout or float("inf"), Store(), 0
        self.kind = ray.remote(Worker).options(num_cpus=num_cpus, num_gpus=num_gpus)
        self.actors = [self.kind.remote(sys.path, os.getcwd()) for _ in range(count)]
        self.processes: dict[int, tuple[str, int]] = {}  # node and process of each worker
        self.node = None if client.is_connected() else ray.get_runtime_context().get_node_id()  # of this process
        self.needs = f"{num_cpus:g} CPU and {num_gpus:g} GPU"  # of an actor
        self.loss, self.closed = "", False  # why the last worker was lost
        self.starting = {actor.ready.remote(): worker for worker, actor in enumerate(self.actors)}

    def complete(
        self, job: Callable[[Argument], Result], arguments: Sequence[Argument]
    ) -> Iterator[tuple[int, Result]]:
        """Yields the number of each argument and the job's result for it, as the jobs end.

        A worker gets neighbouring jobs, the same ones in each call, and others when it has none left. Raises an
        exception of the job, and Halted if jobs crash their workers (see `Losses`) or none can start. Jobs under way
        are then abandoned.
        """
        messages = self.store.address([pack((job, argument)) for argument in arguments])
        cuts = np.linspace(0, len(messages), len(self.actors) + 1).round().astype(int)
        queues = [deque(range(*cut)) for cut in pairwise(cuts)]
        losses, missing = Losses(len(self.actors)), len(messages)
        under_way: dict[Any, Task] = {}
        try:
            while missing:
                self._give_jobs(messages, queues, under_way)
                ended = self._wait(under_way)
                if self.closed:
                    return
                for reference in ended:
                    task = under_way[reference]
                    answer = self._answer(reference, task)
                    del under_way[reference]
                    if answer is None:
                        queues[task.worker].appendleft(task.job)
                        self._replace(task.worker)
                        losses.add(task.job, self.loss)
                    else:
                        missing -= 1
                        losses.since_an_end = 0
                        yield task.job, read(*answer)
        finally:
            for task in under_way.values():
                self._replace(task.worker)

    def close(self) -> None:
        """Ends all workers, unless Ray has ended. Jobs under way are abandoned, without an exception."""
        self.closed = True
        for actor in self.actors if ray.is_initialized() else ():
            ray.kill(actor)

    def _give_jobs(self, messages: Sequence[Any], queues: Sequence[deque[int]], under_way: dict[Any, Task]) -> None:
        """Gives each idle worker a job of its queue, or the last one of the longest queue."""
        busy = {task.worker for task in under_way.values()} | set(self.starting.values())
        idle = set(range(len(self.actors))) - busy
        for worker in sorted(idle, key=lambda each: not queues[each]):
            longest = max(queues, key=len)
            if longest:
                job = queues[worker].popleft() if queues[worker] else longest.pop()
                reference = self.actors[worker].run.remote(*messages[job])
                under_way[reference] = Task(job, worker, monotonic() + self.timeout)

    def _wait(self, under_way: dict[Any, Task]) -> list[Any]:
        """Waits for an answer, a deadline or a worker that has started.

        Returns the tasks that have ended, or should have.
        """
        rest = min((task.deadline for task in under_way.values()), default=float("inf")) - monotonic()
        rest = max(rest, 0) if self.processes else PATIENCE
        ready, _ = ray.wait([*under_way, *self.starting], timeout=None if rest == float("inf") else rest)
        if not (ready or self.processes):
            warnings.warn(Notice(self._describe_wait()), stacklevel=2)
        for each in ready:
            if each in self.starting:
                self._welcome(each)
        late = [] if ready else [each for each, task in under_way.items() if task.deadline <= monotonic()]
        return [each for each in ready if each in under_way] + late

    def _describe_wait(self) -> str:
        """Returns what the cluster lacks, or is busy with, while no worker can start."""
        free = ray.available_resources()
        has = " and ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        return f"no worker has started yet: each needs {self.needs}, and the cluster has {has} free"

    def _welcome(self, start: Any) -> None:
        """Takes note that a worker has started, or replaces it. Raises Halted if too many in a row could not start."""
        worker = self.starting.pop(start)
        try:
            self.processes[worker] = ray.get(start)
            self.false_starts = 0
        except RayError as error:
            self.false_starts += 1
            failed = isinstance(error, RayActorError) and error.actor_init_failed
            if self.false_starts >= (ATTEMPTS if failed else STARTS):
                raise Halted(f"workers cannot start: {excerpt(str(error), 2000)}") from error
            self._replace(worker)

    def _answer(self, reference: Any, task: Task) -> Any:
        """Returns the answer of a worker; None if it died or is late. The reason is noted in `loss`."""
        late = task.deadline <= monotonic()
        try:
            return ray.get(reference, timeout=0 if late else None)
        except (RayError, TimeoutError) as error:
            self.loss = f"took more than runner.timeout={self.timeout:g} seconds" if late else f"died: {error}"
            return None

    def _replace(self, worker: int) -> None:
        """Replaces a worker."""
        if self.closed:
            return
        ray.kill(self.actors[worker])
        node, process = self.processes.pop(worker, ("", 0))
        if node == self.node:
            with suppress(ProcessLookupError):
                os.kill(process, SIGKILL)  # one that is stopped does not hear Ray, and keeps its processor
        self.actors[worker] = self.kind.remote(sys.path, os.getcwd())
        self.starting[self.actors[worker].ready.remote()] = worker


class Losses:
    """Workers that died under their jobs. Tells jobs that crash their workers from workers that die by chance.

    If workers are killed at random, now one job loses its worker and now another, and jobs end in between, however many
    workers are lost in all. A job that always crashes is soon the only one that loses any, and if all jobs crash, none
    ends.
    """

    def __init__(self, workers: int):
        self.workers, self.since_an_end = workers, 0  # losses since a job ended
        self.job, self.in_a_row = -1, 0  # the last job that lost a worker, and how many since another one did

    def add(self, job: int, reason: str) -> None:
        """Takes note of a loss, with a warning. Raises Halted if jobs crash their workers."""
        self.in_a_row = self.in_a_row + 1 if job == self.job else 1
        self.job, self.since_an_end = job, self.since_an_end + 1
        last = f"is there enough memory for runner.workers? The last one {excerpt(reason, 500)}"
        if self.in_a_row >= ATTEMPTS:
            raise Halted(f"one job cost {self.in_a_row} workers in a row, and no other job any; {last}")
        if self.since_an_end >= ATTEMPTS * self.workers:
            raise Halted(f"{self.since_an_end} workers in a row were lost before a job ended; {last}")
        text = "a worker died or did not answer in time; another one does its job again"
        warnings.warn(Notice(text), stacklevel=2)


def read(succeeded: bool, frame: bytes, arrays: Sequence[np.ndarray]) -> Any:
    """Returns the result of a job without copying its arrays. Raises its exception."""
    if succeeded:
        return unpack(frame, arrays, copy=False)
    error, text = unpack(frame, arrays, copy=True)
    raise error from WorkerTraceback(text)


class Store:
    """Arrays in Ray's object store, by content: each is stored once for all jobs and calls that use it."""

    def __init__(self) -> None:
        self.places: dict[bytes, tuple[Any, int]] = {}  # reference to a list of arrays, and the place in it
        self.used: dict[bytes, int] = {}  # the last call that used it
        self.calls = 0

    def address(self, packets: Sequence[Packet]) -> list[tuple[Any, ...]]:
        """Returns the arguments of `Worker.run` for each packet. Arrays that are in several packets are stored."""
        self.calls += 1
        digests = digest_arrays(packets)
        counts = Counter(digest for each in digests for digest in set(each))
        every = dict(zip(chain(*digests), chain(*(packet.arrays for packet in packets)), strict=True))
        new = [digest for digest, number in counts.items() if number > 1 and digest not in self.places]
        if new:
            reference = ray.put([every[digest] for digest in new])
            self.places |= {digest: (reference, place) for place, digest in enumerate(new)}
        self.used |= dict.fromkeys(counts, self.calls)
        self.used = {digest: call for digest, call in self.used.items() if call > self.calls - STALE}
        self.places = {digest: place for digest, place in self.places.items() if digest in self.used}
        return [self._message(packet, each) for packet, each in zip(packets, digests, strict=True)]

    def _message(self, packet: Packet, digests: Sequence[bytes]) -> tuple[Any, ...]:
        """Returns the pickle, its arrays or their places, and the stored lists that they are in."""
        places = [self.places.get(digest) for digest in digests]
        stores = list(dict.fromkeys(place[0] for place in places if place is not None))
        arrays = [
            array if place is None else (stores.index(place[0]), place[1])
            for array, place in zip(packet.arrays, places, strict=True)
        ]
        return packet.frame, arrays, *stores


def digest_arrays(packets: Sequence[Packet]) -> list[list[bytes]]:
    """Returns the digest of each array of each packet. Packets of one policy share its memory, which is read once."""
    known: dict[tuple[int, int], bytes] = {}
    digests = []
    for packet in packets:
        places = [(array.ctypes.data, len(array)) for array in packet.arrays]
        for place, array in zip(places, packet.arrays, strict=True):
            if place not in known:
                known[place] = blake2b(array.data, digest_size=16).digest()
        digests.append([known[place] for place in places])
    return digests
