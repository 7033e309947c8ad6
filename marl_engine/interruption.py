"""Handling of SIGINT, SIGTERM and SIGHUP: work that can be abandoned ends immediately, other work at its next safe
point.

A process has one set of signal handlers, so there is one instance, `INTERRUPTION`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 5.0  # seconds that work stopped by a signal has for its last evaluation, and again for its pictures


class Interrupted(BaseException):
    """Ends work that may be abandoned because of a signal; only commands catch it."""


class Interruption:
    """The first signal raises `Interrupted`, or is recorded where it is deferred.

    The second one always raises it. The third ends the process immediately.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []  # received
        self.deferrals: list[bool] = []  # of the active contexts, innermost last
        self.loading = False

    @property
    def code(self) -> int:
        """The exit code of a process ended by a signal."""
        return 128 + (self.signals[0] if self.signals else signal.SIGINT)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Context in which signals are handled. A SIGHUP that is ignored, as by nohup, stays ignored."""
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
    def load_modules(self) -> Iterator[None]:
        """Context in which a signal ends the process without an exception, which could reach C++ code of a library
        that is being imported. That of torch aborts the process then.
        """
        self.loading = True
        try:
            yield
        finally:
            self.loading = False

    @contextmanager
    def defer(self, deferred: bool = True) -> Iterator[None]:
        """Context in which the first signal is only recorded.

        With `deferred` false, for a part that may be abandoned, the signal raises `Interrupted` in that part.
        """
        self.deferrals.append(deferred)
        try:
            yield
        finally:
            self.deferrals.pop()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Context that is ended by `Interrupted` after a number of seconds."""
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
        if self.loading:
            os.write(2, b"interrupted\n")
            os._exit(self.code)
        raise Interrupted


def announce(text: str) -> None:
    """Prints a line even if another print is in progress; ignores a closed terminal."""
    try:
        print(text, flush=True)
    except RuntimeError:  # another print is in progress
        os.write(1, f"{text}\n".encode())
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)


INTERRUPTION = Interruption()
