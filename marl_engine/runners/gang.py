"""Gangs: workers that run one job together, and add up tensors on the way (torch.distributed: gloo, or nccl on GPUs).

A job is a function of its argument and of the number of workers, so it is done again with the same result if a worker
is lost. The process of the run has the table at which the workers meet.
"""

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, runtime_checkable
from uuid import uuid4

import torch
from torch import Tensor

from marl_engine.errors import Halted, Notice, excerpt
from marl_engine.runners.resident import is_worker
from marl_engine.types import Argument, Result, Runner

ATTEMPTS = 5  # times that a job is begun
PATIENCE = timedelta(minutes=10)  # for the other workers


class PeerLost(RuntimeError):
    """Another worker of the gang has ended, or does not answer."""


@runtime_checkable
class GangRunner(Runner, Protocol):
    """A runner whose learners are processes."""

    learners: int  # processes that learn together; 1: learners learn in the process of the run
    gang: "Gang | None"  # these processes, once they are needed

    def for_learners(self) -> "tuple[Runner, str]":
        """Returns a runner with as many workers, and the address under which they reach this process."""


class Meeting(NamedTuple):
    """Where the workers of a gang meet."""

    host: str
    port: int
    name: str  # a new one for each group of processes
    size: int


class Group:
    """The workers of a gang, as one of them sees it."""

    def __init__(self, meeting: Meeting, rank: int):
        from torch import distributed

        self.name, self.rank, self.size = meeting.name, rank, meeting.size
        if distributed.is_initialized():
            distributed.destroy_process_group()
        try:
            table = distributed.TCPStore(meeting.host, meeting.port, is_master=False, timeout=PATIENCE)
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=distributed.PrefixStore(meeting.name, table),
                rank=rank,
                world_size=meeting.size,
                timeout=PATIENCE,
            )
        except RuntimeError as error:
            raise PeerLost(str(error)) from error

    def add(self, tensor: Tensor) -> None:
        """Replaces a tensor by the sum of those of all workers. Raises PeerLost."""
        from torch import distributed

        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise PeerLost(str(error)) from error


class Task(NamedTuple):
    """The same job for each worker; `number` is its rank if it is new."""

    job: Callable[[Any, Group], Any]
    argument: Any
    meeting: Meeting
    number: int


GROUPS: list[Group] = []  # of this process: at most one


def run_member(task: Task) -> tuple[int, Any]:
    """Runs a job in one of the workers, which keeps its rank as long as the gang remains the same; returns the rank."""
    if not GROUPS or GROUPS[0].name != task.meeting.name:
        GROUPS[:] = []
        GROUPS.append(Group(task.meeting, task.number))
    try:
        return GROUPS[0].rank, task.job(task.argument, GROUPS[0])
    except PeerLost:
        GROUPS.clear()
        raise


class Gang:
    """As many workers as a runner has learners. They start with the first job."""

    def __init__(self, runner: GangRunner):
        self.runner, self.size = runner, runner.learners
        self.workers: Runner | None = None
        self.table: Any = None
        self.meeting = Meeting("", 0, "", self.size)

    def run(self, job: Callable[[Argument, Group], Result], argument: Argument) -> list[Result]:
        """Returns the results of all workers, by rank. Raises Halted if they are lost again and again."""
        workers = self.workers = self.workers or self._meet()
        for _ in range(ATTEMPTS):
            tasks = [Task(job, argument, self.meeting, number) for number in range(self.size)]
            try:
                results: list[tuple[int, Result]] = workers.map(run_member, tasks)
            except PeerLost as error:
                reason = excerpt(str(error))
                self.meeting = self.meeting._replace(name=uuid4().hex)
                warnings.warn(Notice("a learner was lost; its update is done again"), stacklevel=2)
            else:
                return [result for _, result in sorted(results, key=lambda each: each[0])]
        raise Halted(f"learners were lost {ATTEMPTS} times in one update: {reason}")

    def _meet(self) -> Runner:
        """Opens the table and returns the runner of the workers."""
        from torch import distributed

        workers, host = self.runner.for_learners()
        self.table = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        self.meeting = Meeting(host, self.table.port, uuid4().hex, self.size)
        return workers


def make_gang(runner: Runner) -> Gang | None:
    """Returns the gang of a runner with several learners; None if it has none, or in a worker."""
    if not isinstance(runner, GangRunner) or runner.learners < 2 or is_worker():
        return None
    runner.gang = runner.gang or Gang(runner)
    return runner.gang
