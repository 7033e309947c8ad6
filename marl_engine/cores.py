"""Work shared among the processor's cores by threads; neither compiled loops nor torch hold the lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any
from zlib import crc32

import torch
from numba import njit
from numba.core.dispatcher import Dispatcher

from marl_engine.types import Result

OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}


def compiled(function: Callable) -> Callable[..., Any]:
    """A loop over numbers as machine code, kept on disk, that holds no lock; what divides by zero is infinite.

    Numba keeps machine code until the file of the loop changes. Parts from other files are compiled into it, and
    the options above, so a mark of both is put into its name.

    Arrays are passed without reference counts (`_nrt=False`): counting those of a struct of ten arrays took
    three quarters of the time of the rules of Overcooked.
    """
    function.__qualname__ += f"_{crc32(repr((sorted(map(repr, OPTIONS.items())), parts_of(function))).encode()):08x}"
    return njit(cache=True, **OPTIONS)(function)


def inlined(function: Callable) -> Callable[..., Any]:
    """A part of compiled loops, compiled into each of them: a call would cost more than most parts do."""
    return njit(forceinline=True, **OPTIONS)(function)


def parts_of(function: Callable) -> list[Any]:
    """The byte code of what a function calls of ours, and of what that calls."""
    called = (function.__globals__.get(name) for name in function.__code__.co_names)  # type: ignore[attr-defined]
    parts = [each.py_func for each in called if isinstance(each, Dispatcher)]
    return [(each.__code__.co_code, each.__code__.co_consts, parts_of(each)) for each in parts]


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="rows")


def over_rows(work: Callable[[int, int, int], None], rows: int, at_least: int) -> int:
    """Calls work(share, first, last) for consecutive shares of `rows`; returns how many shares there were.

    There is one share for each of torch's threads, or fewer, so that each has `at_least` rows, the number from
    which a hand-over pays.
    """
    cores = max(1, min(torch.get_num_threads(), rows // at_least))
    bounds = [rows * core // cores for core in range(cores + 1)]
    others = [_workers(cores).submit(work, core, bounds[core], bounds[core + 1]) for core in range(1, cores)]
    work(0, bounds[0], bounds[1])
    for other in others:
        other.result()
    return cores


def side_by_side(*jobs: Callable[[], Result]) -> list[Result]:
    """The results of jobs that do not touch each other, done at the same time; raises what one of them raises."""
    threads = torch.get_num_threads()

    def as_here(job: Callable[[], Result]) -> Result:
        torch.set_num_threads(threads)  # a new thread would share its first operations among all cores
        return job()

    others = [_workers(len(jobs)).submit(as_here, job) for job in jobs[1:]]
    try:
        first = jobs[0]()
    finally:
        wait(others)
    return [first, *(other.result() for other in others)]
