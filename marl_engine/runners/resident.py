"""Values that stay in the process of the worker that used them last, such as games in progress.

A job returns a resident value together with its pickled state. The state is sent to the next job; if the worker still
has the value, it is used as it is, otherwise it is made anew from the state. So a worker can be lost at any time, and
values that take long to make, such as environments in which actions are played again, are made only if that happens.
"""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

from marl_engine.numerics.state import get_state, set_state

Value = TypeVar("Value")
MOST = 256  # values that a worker keeps

KEPT: OrderedDict[tuple[int, int], Any] = OrderedDict()  # in a worker: its values, by process and number
NUMBERS = count()
WORKS = False  # whether this process is a worker


def become_worker() -> None:
    """Makes this process one that keeps values."""
    global WORKS
    WORKS = True


def is_worker() -> bool:
    """Whether this process is a worker."""
    return WORKS


class Resident(Generic[Value]):
    """A value, or its pickled state in a process that has not used it yet. Pickling uses up the value in a worker."""

    def __init__(self, value: Value | None = None, key: tuple[int, int] | None = None, data: Any = None):
        self.unpickled, self.key, self.data = value, key, data

    @property
    def value(self) -> Value:
        """The value: the one that this worker kept, or one made from the state."""
        if self.unpickled is None:
            kept = None if self.key is None else KEPT.pop(self.key, None)
            self.unpickled = pickle.loads(self.data) if kept is None else kept
            self.key = self.data = None  # the value will change
        return self.unpickled

    def pack(self, dump: Callable[[Value], Any] = pickle.dumps) -> tuple[tuple[int, int] | None, Any]:
        """Returns the key under which this worker keeps the value, and its state as bytes-like data."""
        if self.unpickled is None:
            return self.key, self.data
        data = dump(self.unpickled)
        if not WORKS:
            return None, data
        key = os.getpid(), next(NUMBERS)
        KEPT[key] = self.unpickled
        if len(KEPT) > MOST:
            KEPT.popitem(last=False)
        return key, data

    def __reduce__(self) -> Any:
        return Resident, (None, *self.pack())

    def state(self) -> Any:
        """Returns the state of the value, for a checkpoint; the worker keeps the value."""
        return get_state(pickle.loads(self.data) if self.unpickled is None else self.unpickled)

    def restore(self, state: Any) -> Any:
        """Restores the value; see `set_state`."""
        return set_state(self.value, state)
