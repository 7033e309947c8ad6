"""What a run says of failures of somebody's environment: of exceptions, and of worker processes that are lost."""

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from marl_engine.errors import Halted, Notice, Refused, excerpt
from marl_engine.types import Metrics

HERE = str(Path(__file__).parent)
REPORTED_SINGLY = 10  # losses; later ones are reported whenever their number has doubled
CUTS, WINDOW = 3, 1000  # the run stops at the third step within a thousand in which games are cut off


class Failure(NamedTuple):
    """An exception of an environment."""

    traceback: str
    message: str  # with the kind of exception


class EnvironmentFailed(Exception):
    """An environment raised an exception in a worker process."""

    def __init__(self, failure: Failure):
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def report_failures(name: str, kind: type[Exception]) -> Iterator[None]:
    """Prints the traceback of an exception of environment `name`, and raises `kind` with one sentence in its place.

    Refused and Halted are left as they are.
    """
    try:
        yield
    except (Refused, Halted):
        raise
    except Exception as error:
        failure = error.failure if isinstance(error, EnvironmentFailed) else describe_failure(error)
        print(failure.traceback.rstrip(), file=sys.stderr)
        sentence = f"the environment {name} raised {excerpt(failure.message)}"
    else:
        return
    raise kind(sentence)


def describe_failure(error: Exception) -> Failure:
    """Returns what is shown of an exception."""
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    message = dropwhile(lambda line: line.startswith(" "), lines)  # a SyntaxError begins with the wrong code
    return Failure(own_traceback(error), " ".join(message))


def own_traceback(error: Exception) -> str:
    """Returns the traceback of an exception, from the first line outside this package, and the import of modules, on.

    If it has no such line, it is returned as a whole.
    """
    trace = error.__traceback__
    while trace is not None and is_engine(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def is_engine(file: str) -> bool:
    """Whether a file of Python code belongs to this package, or imports modules or manages contexts for it."""
    return file.startswith((HERE, "<frozen importlib")) or file.endswith(("importlib/__init__.py", "/contextlib.py"))


@dataclass
class Losses:
    """Counts the workers that were lost, and the games that were cut off by that, in all batches of a game."""

    workers: int = 0
    games: int = 0
    reports: int = 0
    steps: int = 0  # of all batches
    cuts: list[int] = field(default_factory=list)  # the last steps in which games were cut off

    def note(self, workers: int, games: int, sentence: str) -> None:
        """Takes note of a loss, and reports it by a Notice. Raises Halted if games are cut off again and again."""
        self.workers, self.games, self.reports = self.workers + workers, self.games + games, self.reports + 1
        total = f"workers lost so far: {self.workers}, games cut off: {self.games}"
        if games and self.steps not in self.cuts:
            self.cuts = [step for step in self.cuts if step > self.steps - WINDOW] + [self.steps]
        if len(self.cuts) >= CUTS:
            raise Halted(f"{sentence}; {total}; games were cut off in {CUTS} of {WINDOW:,} steps, so the run stops")
        if self.reports <= REPORTED_SINGLY or self.reports & (self.reports - 1) == 0:
            warnings.warn(Notice(f"{sentence}; {total}"), stacklevel=2)

    def counts(self) -> Metrics:
        """Returns both numbers, if anything was lost."""
        return {"workers/lost": self.workers, "games/cut_off": self.games} if self.workers else {}
