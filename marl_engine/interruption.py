"""What SIGINT, SIGTERM and SIGHUP do: they end at once what loses nothing by it, and all else at its next safe point.

A process has one set of signal handlers, so what they know is the process's, too: `INTERRUPTION`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Ends work that may be dropped, because a signal came; nothing else should catch it."""


class Interruption:
    """The first signal ends the process by `Interrupted`, or is kept in mind where it is deferred; the second ends it
    by `Interrupted` wherever it comes, the third without another instruction.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []  # that came
        self.deferrals: list[bool] = []  # the parts of a run that are under way, the innermost last

    @property
    def code(self) -> int:
        """The exit code of a process that a signal ended."""
        return 128 + (self.signals[0] if self.signals else signal.SIGINT)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Within it signals are handled so; a SIGHUP that is ignored, as by nohup, stays so."""
        self.signals, self.deferrals = [], []
        ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        chosen = [number for number in SIGNALS if not (ignores_hangup and number == signal.SIGHUP)]
        before = [(number, signal.signal(number, self._hear)) for number in chosen]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def defer(self, deferred: bool = True) -> Iterator[None]:
        """Within it the first signal is kept in mind; with `deferred` false, for a part that may be dropped, it ends
        that part by `Interrupted`.
        """
        self.deferrals.append(deferred)
        try:
            yield
        finally:
            self.deferrals.pop()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Ends what is within it by `Interrupted` after so many seconds."""
        before = signal.signal(signal.SIGALRM, self._end)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)
        if len(self.signals) > 2:
            os._exit(self.code)
        if len(self.signals) > 1 or not self.deferrals:
            self._end(number, frame)
        announce(f"{signal.Signals(number).name}: the run stops as soon as it can be saved; once more ends it unsaved")
        if not self.deferrals[-1]:
            self._end(number, frame)

    def _end(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted


def announce(text: str) -> None:
    """Prints a line, wherever the process is; a terminal that is gone is written to no more."""
    try:
        print(text, flush=True)
    except RuntimeError:  # it is in the middle of another print
        os.write(1, f"{text}\n".encode())
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)


INTERRUPTION = Interruption()
