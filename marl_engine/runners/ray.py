"""Runs jobs in Ray actors, on this machine or a cluster, with the results of every other runner in the same order.

The actors are long-lived: they keep what they have compiled, and the games that they play (see `resident`). Arrays that
several jobs need, such as the weights of a policy, are put into Ray's object store once and not again until they
change. Results come back without copies, in memory that cannot be written.

What matters lives in the process of the run. An actor that dies or does not answer is replaced, and its job is done
again by another one, with the same result.
"""

import atexit
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import torch

from marl_engine.errors import Notice, Refused, describe, excerpt
from marl_engine.interruption import SIGNALS
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.threads import count_free_cores
from marl_engine.runners.background import Background, stop_all
from marl_engine.runners.gang import Gang
from marl_engine.runners.local import in_order
from marl_engine.runners.packets import Packet, pack, unpack
from marl_engine.runners.resident import become_worker, is_worker
from marl_engine.types import Argument, Result

INSTALL = "runner=ray needs Ray: pip install 'marl_engine[ray]'"
PACKAGES = ("marl_engine", "games", "solvers", "configs")  # that travel to a cluster
SHARED_MEMORY = Path("/dev/shm")
LOCAL_SETTINGS = {  # of a Ray that this process starts; it reads them when it is imported
    "RAY_AUTH_MODE": "disabled",  # nobody else uses it, and tokens would be written to the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # the run waits for its workers, so they are as urgent as itself
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass
class RayRunner:
    """Runs jobs in `workers` actors, which start with the first jobs and use one thread each.

    A single job runs in the process of the run, and jobs of a job in its worker. Raises Refused if Ray is not installed
    and ValueError for numbers out of range.
    """

    workers: int | None = None  # None: as many as there are free cores, or processors in a running cluster
    address: str | None = None  # of a running cluster: auto, host:port or ray://host:port; None: Ray starts here
    timeout: float | None = 600  # seconds after which an actor that does not answer is replaced; None: never
    num_cpus: float = 1  # of an actor, for Ray, which places no more actors on a machine than it has processors
    num_gpus: float = 0  # of an actor; several can share one
    runtime_env: dict[str, Any] | None = None  # of actors in a running cluster; None: with this engine's packages
    overlap: bool = False  # learners learn while workers play; see `responders.overlap`
    learners: int = 1  # actors that learn together, besides the workers; see `runners.gang`
    crew: Any = field(init=False, default=None)  # the actors
    gang: Gang | None = field(init=False, default=None)
    background: Background[Any] | None = field(init=False, default=None)  # the last jobs that were started

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_fields("runner", self, "workers", least=1, whole=True)
        if self.timeout is not None:
            check_fields("runner", self, "timeout", above=0)
        check_fields("runner", self, "num_cpus", "num_gpus", least=0)
        check_fields("runner", self, "learners", least=1, whole=True)
        if find_spec("ray") is None:
            raise Refused(INSTALL)

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """Returns the results of a job for each argument; see `Crew.complete`."""
        return in_order(self.complete(job, arguments))

    def complete(
        self, job: Callable[[Argument], Result], arguments: Iterable[Argument]
    ) -> Iterator[tuple[int, Result]]:
        """Yields the number of each argument and its result as the jobs end; see `Crew.complete`."""
        jobs = list(arguments)
        if len(jobs) < 2 or is_worker():
            yield from enumerate(map(job, jobs))
            return
        if self.background is not None:
            self.background.end()
        yield from self._actors().complete(job, jobs)

    def start(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> Callable[[], list[Result]]:
        """Begins jobs in the actors; the function that it returns waits for their results. See `BackgroundRunner`."""
        jobs = list(arguments)
        if is_worker():
            return lambda: [job(each) for each in jobs]
        crew = self._actors()
        if self.background is None:
            atexit.unregister(stop_all)
            atexit.register(stop_all)  # before Ray ends, which their threads would start again
        self.background = Background(lambda: in_order(crew.complete(job, jobs)), self.background, crew.close)
        return self.background.take

    def for_learners(self) -> "tuple[RayRunner, str]":
        """See `GangRunner`."""
        self._connect()
        import ray

        host = "127.0.0.1" if self.address is None else ray.util.get_node_ip_address()
        return replace(self, workers=self.learners, learners=1, overlap=False), host

    def _connect(self) -> int:
        """See `connect`."""
        learners = self.learners if self.learners > 1 else 0
        return connect(self.address, self.workers, self.runtime_env, learners, self.num_cpus)

    def _actors(self) -> Any:
        """Returns the `Crew`, which starts if there is none."""
        if self.crew is None:
            from marl_engine.runners.crew import Crew

            count = self._connect()
            if self.address is None:
                check_gpus(count, self.num_gpus)
            self.crew = Crew(count, self.timeout, self.num_cpus, self.num_gpus)
        return self.crew


def connect(
    address: str | None,
    workers: int | None,
    runtime_env: Mapping[str, Any] | None = None,
    learners: int = 0,
    num_cpus: float = 1,
) -> int:
    """Starts Ray or joins a running cluster, unless this process has done so; returns the number of workers.

    A Ray that starts has `num_cpus` processors for each of them and of learners. Raises Refused if there is no cluster
    at the address.
    """
    if address is None:
        for name, value in LOCAL_SETTINGS.items():
            os.environ.setdefault(name, value)
    import ray

    count = workers or count_free_cores()
    if not ray.is_initialized():
        import signal

        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        options: dict[str, Any] = {"num_cpus": ceil((count + learners) * num_cpus), "include_dashboard": False}
        options["address"] = "local"  # also where RAY_ADDRESS names a cluster that runs
        shared = shutil.disk_usage(SHARED_MEMORY).free if address is None and SHARED_MEMORY.exists() else None
        if address is not None:
            options = {"address": address, "runtime_env": runtime_env or {"py_modules": find_packages()}}
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Refused(f"runner.address={address}: {excerpt(describe(error))}") from error
        finally:
            for number, handler in handlers.items():  # Ray replaces some
                signal.signal(number, handler)
        silence_raylet()
        if shared is not None:
            check_shared_memory(shared, ray.cluster_resources().get("object_store_memory", 0))
    return count if address is None else workers or max(int(ray.cluster_resources().get("CPU", 1) / (num_cpus or 1)), 1)


def silence_raylet() -> None:
    """Keeps Ray from printing on stdout that a worker died, which no setting of it does; a `Crew` says so itself."""
    from ray._private import worker

    worker.print_to_stdstream = lambda data, ignore_prefix: None  # without log_to_driver, only such lines get there


def check_shared_memory(free: float, wanted: float) -> None:
    """Warns if the object store, of `wanted` bytes, does not fit: Ray has put it on the disk then."""
    if free < wanted:
        warnings.warn(
            Notice(
                f"{SHARED_MEMORY} has {free / 1e9:.2f} GB free, and Ray's object store takes {wanted / 1e9:.2f} GB, so "
                f"it is on the disk, which is slower; in Docker, --shm-size={wanted / 0.9e9:.1f}g makes room"
            ),
            stacklevel=2,
        )


def check_gpus(workers: int, share: float) -> None:
    """Raises Refused if this machine has too few GPUs for a share of one for each worker, who could never start."""
    import ray

    number = ray.cluster_resources().get("GPU", 0)
    if workers * share > number:
        raise Refused(
            f"runner.num_gpus={share:g} for each of {workers} workers is more than the {number:g} GPUs that Ray finds "
            "here; choose fewer runner.workers, or a smaller share"
        )


def find_packages() -> list[str]:
    """Returns the folders of this engine's packages."""
    specs = [find_spec(name) for name in PACKAGES]
    return [str(Path(place)) for spec in specs if spec is not None for place in spec.submodule_search_locations or ()]


class Worker:
    """The actor. It imports from the folders of the run where they exist."""

    def __init__(self, path: Iterable[str], folder: str):
        become_worker()
        torch.set_num_threads(1)
        with suppress(OSError):
            os.chdir(folder)
        sys.path += [each for each in path if each not in sys.path]

    def ready(self) -> tuple[str, int]:
        """Returns the node of Ray and the number of this process."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def run(self, frame: bytes, arrays: list[Any], *stores: list[Any]) -> tuple[bool, bytes, list[Any]]:
        """Runs a job; returns whether it succeeded, and the packet of its result or exception.

        An array is given as such, or as its place in one of the stores.
        """
        whole = [stores[each[0]][each[1]] if isinstance(each, tuple) else each for each in arrays]
        try:
            job, argument = unpack(frame, whole, copy=True)
            return True, *pack(job(argument))
        except Exception as error:
            return False, *pack_error(error)


def pack_error(error: Exception) -> Packet:
    """Returns the packet of an exception and its traceback. One that cannot be pickled becomes a RuntimeError."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None  # without the worker's
    text = "".join(traceback.format_exception(type(error), error, frames))
    try:
        packet = pack((error, text))
        unpack(*packet, copy=True)
    except Exception:
        return pack((RuntimeError(f"{type(error).__name__}: {error}"), text))
    return packet
