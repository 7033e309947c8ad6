"""Work on rows, shared among the processor's cores by threads; the compiled loops hold no lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="rows")


def over_rows(work: Callable[[int, int, int], None], rows: int, at_least: int) -> int:
    """Calls work(share, first, last) for consecutive shares of `rows`; returns how many shares there were.

    There is one share for each of torch's threads, or a single one when a share would have fewer rows than
    `at_least`, the number from which a hand-over pays.
    """
    cores = max(1, min(torch.get_num_threads(), rows // at_least))
    bounds = [rows * core // cores for core in range(cores + 1)]
    others = [_workers(cores).submit(work, core, bounds[core], bounds[core + 1]) for core in range(1, cores)]
    work(0, bounds[0], bounds[1])
    for other in others:
        other.result()
    return cores
