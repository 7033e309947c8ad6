"""Numbers that change while learning goes on."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Linear:
    """From `start` to `end` in a straight line over the first `over` steps of play, and `end` from there on."""

    start: float
    end: float
    over: float

    def __post_init__(self) -> None:
        if self.over <= 0:
            raise ValueError(f"a schedule must take some steps: over must be above 0, not {self.over}")

    def at(self, steps: float) -> float:
        """The number after so many steps of play."""
        share = min(steps / self.over, 1.0)
        return self.start + (self.end - self.start) * share


@dataclass
class Constant:
    """Always the same."""

    value: float

    def at(self, steps: float) -> float:
        """The number."""
        return self.value


Schedule = Linear | Constant


def schedule(number: Any) -> Schedule:
    """A number, or {start, end, over}, as a schedule. Raises ValueError for anything else."""
    if isinstance(number, Linear | Constant):
        return number
    if isinstance(number, int | float) and not isinstance(number, bool):
        return Constant(float(number))
    if not isinstance(number, dict) or set(number) != {"start", "end", "over"}:
        raise ValueError(f"a schedule is a number, or has the keys start, end and over; not {number!r}")
    return Linear(**{key: float(value) for key, value in number.items()})
