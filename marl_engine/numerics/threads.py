"""The number of threads of a run: the number that the user gives, or OMP_NUM_THREADS, or the number of free cores.

One thread too few costs little. One thread too many, on cores that other jobs use, delays every matrix product: a
language model then trains several times more slowly with two threads than with one.
"""

import os
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from math import inf
from pathlib import Path

import torch

from marl_engine.errors import Notice
from marl_engine.types import Result


def choose_threads(number: int | None) -> int:
    """Returns `number`; if it is None, OMP_NUM_THREADS; if that is not set, the number of free cores.

    A number larger than the number of cores is accepted with a warning.
    """
    cores = len(usable_cores())
    if number is not None and number > cores:
        warnings.warn(
            Notice(f"threads={number} is more than the {cores} cores here, which makes a run slower, not faster"),
            stacklevel=2,
        )
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": the second is for nested loops
    return number or (int(first) if first.isdecimal() else 0) or count_free_cores()


@cache
def count_cores() -> int:
    """Returns the number of cores that this process may use, at least 1.

    A process may be restricted to some cores (its CPU affinity) or to a share of their time (its control groups). The
    number is determined once per process.
    """
    return max(1, int(min(len(usable_cores()), read_quota())))


@cache
def count_free_cores() -> int:
    """Returns the number of cores that this process may use and that were idle during the last minute, at least 1.

    The number is determined once per process.
    """
    total = os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # not everywhere is there such a thing
        load = 0.0
    return max(1, min(count_cores(), total - round(load)))


def usable_cores() -> Collection[int]:
    """Returns the numbers of the cores that this process may use."""
    try:
        return os.sched_getaffinity(0)
    except (AttributeError, OSError):  # not everywhere is there such a thing
        return range(os.cpu_count() or 1)


def read_quota(groups: Path = Path("/sys/fs/cgroup"), memberships: Path = Path("/proc/self/cgroup")) -> float:
    """Returns the CPU time in seconds per second that the control groups of this process allow; inf without a limit.

    A control group is also subject to the limits of its parents. Version 1 of control groups has a separate tree for
    CPU time, `cpu`.
    """
    shares = [inf]
    for line in read_system_file(memberships).splitlines():
        controllers, place = line.split(":", 2)[1:]
        tree = groups / "cpu" if "cpu" in controllers.split(",") else groups
        group = tree / place.lstrip("/")
        shares += [read_share(each) for each in (group, *group.parents) if each.is_relative_to(tree)]
    return min(shares)


def read_share(group: Path) -> float:
    """Returns the limit of one control group; see `read_quota`."""
    names = "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"  # version 2 has one file, version 1 has two
    quota, period = (" ".join(read_system_file(group / name) for name in names).split() + ["max"] * 2)[:2]
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else inf


def read_system_file(path: Path) -> str:
    """Returns the content of a file, or an empty string if it does not exist or is not readable."""
    try:
        return path.read_text()
    except OSError:
        return ""


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="rows")


def split_rows(work: Callable[[int, int, int], None], rows: int, at_least: int) -> int:
    """Calls work(share, first, last) for consecutive shares of `rows`, in parallel; returns the number of shares.

    There is one share for each of torch's threads, or fewer, so that each share has `at_least` rows.
    """
    cores = max(1, min(torch.get_num_threads(), rows // at_least))
    bounds = [rows * core // cores for core in range(cores + 1)]
    others = [_workers(cores).submit(work, core, bounds[core], bounds[core + 1]) for core in range(1, cores)]
    work(0, bounds[0], bounds[1])
    for other in others:
        other.result()
    return cores


def run_concurrently(*jobs: Callable[[], Result]) -> list[Result]:
    """Runs independent jobs and returns their results. Raises the exception of a job that fails.

    They run at the same time, each with an equal share of torch's threads but at least one; on a single core one after
    the other. The results are the same, as a job has as many threads in both cases.
    """
    threads = torch.get_num_threads()

    def share_threads(job: Callable[[], Result]) -> Result:
        torch.set_num_threads(max(1, threads // len(jobs)))  # of the calling thread only
        return job()

    others = [_workers(len(jobs)).submit(share_threads, job) for job in jobs[1:]] if count_cores() > 1 else []
    try:
        results = [share_threads(job) for job in (jobs[:1] if others else jobs)]
    finally:
        torch.set_num_threads(threads)
        wait(others)
    return [*results, *(other.result() for other in others)]
