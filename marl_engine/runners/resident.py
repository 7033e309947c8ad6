"""Values that stay in the process of the worker that used them last, such as games in progress.

A job returns a resident value together with its pickled state. The state is sent to the next job; if the worker still
has the value, it is used as it is, otherwise it is made anew from the state. So a worker can be lost at any time, and
values that take long to make, such as environments in which actions are played again, are made only if that happens.

A value has a name for life, and each of its states a mark of its own. A worker keeps one state for each name, and uses
it only for a job that comes with the same mark: another worker may have gone on with the value in the meantime.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import uuid4

from marl_engine.numerics.state import get_state, set_state

Value = TypeVar("Value")
MOST = 256  # values that a worker keeps

KEPT: OrderedDict[str, tuple[str, Any]] = OrderedDict()  # in a worker: marks and values, by name
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

    STATE = ()  # none of its own: `state` and `restore` are those of the value, which checks what it restores

    def __init__(self, value: Value | None = None, name: str = "", mark: str | None = None, data: Any = None):
        self.unpickled, self.name, self.mark, self.data = value, name or uuid4().hex, mark, data

    @property
    def value(self) -> Value:
        """The value: the one that this worker kept, or one made from the state."""
        if self.unpickled is None:
            mark, kept = KEPT.pop(self.name, (None, None))
            self.unpickled = kept if kept is not None and mark == self.mark else pickle.loads(self.data)
            self.mark = self.data = None  # the value will change
        return self.unpickled

    def pack(self, dump: Callable[[Value], Any] = pickle.dumps) -> tuple[str, str | None, Any]:
        """Returns the name of the value, the mark under which this worker keeps it, and its state as bytes-like data.

        The mark is None if no worker has it.
        """
        if self.unpickled is None:
            return self.name, self.mark, self.data
        data, mark = dump(self.unpickled), None
        if WORKS:
            mark = uuid4().hex
            KEPT[self.name] = mark, self.unpickled
            if len(KEPT) > MOST:
                KEPT.popitem(last=False)
        return self.name, mark, data

    def __reduce__(self) -> Any:
        return Resident, (None, *self.pack())

    def state(self) -> Any:
        """Returns the state of the value, for a checkpoint; the worker keeps the value."""
        return get_state(pickle.loads(self.data) if self.unpickled is None else self.unpickled)

    def restore(self, state: Any) -> Any:
        """Restores the value; see `set_state`."""
        return set_state(self.value, state)
