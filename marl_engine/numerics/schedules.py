"""Schedules: hyperparameters that change during training."""

from dataclasses import dataclass
from typing import Any

from marl_engine.numerics.checks import check_number


@dataclass
class Linear:
    """Changes linearly from `start` to `end` over the first `over` steps of play, then stays at `end`."""

    start: float
    end: float
    over: float

    def at(self, steps: float) -> float:
        """Returns the value after a number of steps of play."""
        share = min(steps / self.over, 1.0)
        return self.start + (self.end - self.start) * share


@dataclass
class Constant:
    """Always has the same value."""

    value: float

    def at(self, steps: float) -> float:
        """Returns the value."""
        return self.value


Schedule = Linear | Constant


def parse_schedule(value: Any, name: str, most: float | None = None) -> Schedule:
    """Converts a number or {start, end, over} to a schedule. `name` is used in error messages.

    Raises ValueError for anything else, for negative numbers and those above `most`, and for no steps.
    """
    parts = value if isinstance(value, dict) else {"value": value}
    if "over" in parts and parts["over"] is None:
        raise ValueError(f"{name} depends on the number of steps, which has no limit: set steps=, or give a number")
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in parts.values())
    if not numbers or set(parts) not in ({"value"}, {"start", "end", "over"}):
        raise ValueError(f"{name} must be a number, or numbers for start, end and over; not {value!r}")
    for part, number in parts.items():
        bounds = {"above": 0} if part == "over" else {"least": 0, "most": most}
        check_number(name if part == "value" else f"{name}.{part}", number, **bounds)
    return Constant(**parts) if "value" in parts else Linear(**parts)
