"""Jobs under way in the background, while the process of the run does something else."""

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, Generic, Protocol, runtime_checkable

from marl_engine.types import Argument, Result, Runner


@runtime_checkable
class BackgroundRunner(Runner, Protocol):
    """A runner with workers, which can run jobs while the process of the run does something else."""

    overlap: bool  # whether learners learn while workers play; see `responders.overlap`

    def start(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> Callable[[], list[Result]]:
        """Begins jobs; the function that it returns waits for their results, in order, and is called at most once.

        Later jobs begin when these have ended.
        """


def overlapping(runner: Runner) -> BackgroundRunner | None:
    """Returns a runner whose workers play while learners learn; None if it is none."""
    return runner if isinstance(runner, BackgroundRunner) and runner.overlap else None


RUNNING: "set[Background[Any]]" = set()  # calls under way that can be stopped
GRACE = 10.0  # seconds in which they end with the process


class Background(Generic[Result]):
    """A call in a thread of its own, which begins after another one has ended, and ends with the process."""

    def __init__(
        self,
        call: Callable[[], Result],
        after: "Background[Any] | None" = None,
        stop: Callable[[], None] | None = None,
    ):
        if stop is not None:
            RUNNING.add(self)
        self.stop = stop  # makes the call end early, when the process ends
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run, args=(call, after), daemon=True)
        self.thread.start()

    def _run(self, call: Callable[[], Result], after: "Background[Any] | None") -> None:
        try:
            if after is not None:
                after.end()
            self.results.append(call())
        except BaseException as error:
            self.error = error
        finally:
            RUNNING.discard(self)

    def end(self, timeout: float | None = None) -> None:
        """Waits until the call has ended, also by an exception, but not longer than `timeout` seconds."""
        self.thread.join(timeout)

    def take(self) -> Result:
        """Waits for the call; returns its result, once, or raises its exception."""
        self.end()
        if self.error is not None:
            raise self.error
        return self.results.pop()


def stop_all() -> None:
    """Stops the calls under way, at the end of the process."""
    for each in list(RUNNING):
        if each.stop is not None:
            each.stop()
            each.end(GRACE)
