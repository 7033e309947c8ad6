"""Runs jobs in this process. A job is a pure function of its argument, so every runner gives the same results."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from marl_engine.types import Argument, Result


@dataclass(frozen=True)
class LocalRunner:
    """Runs jobs one after the other in this process. Raises ValueError if they are to overlap."""

    overlap: bool = False

    def __post_init__(self) -> None:
        if self.overlap:
            raise ValueError(
                "runner.overlap=true needs workers that play while this process learns: choose runner=ray or processes"
            )

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        return [job(argument) for argument in arguments]

    def complete(
        self, job: Callable[[Argument], Result], arguments: Iterable[Argument]
    ) -> Iterator[tuple[int, Result]]:
        return enumerate(map(job, arguments))


def in_order(results: Iterable[tuple[int, Result]]) -> list[Result]:
    """Returns the results of `complete`, in the order of the arguments."""
    return [result for _, result in sorted(results, key=itemgetter(0))]


LOCAL = LocalRunner()
