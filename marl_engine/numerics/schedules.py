"""Numbers that change while learning goes on."""

from dataclasses import dataclass
from typing import Any

from marl_engine.numerics.checks import check_number


@dataclass
class Linear:
    """From `start` to `end` in a straight line over the first `over` steps of play, and `end` from there on."""

    start: float
    end: float
    over: float

    def __post_init__(self) -> None:
        check_number("over, the steps that a schedule takes,", self.over, above=0)

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


def parse_schedule(given: Any, name: str) -> Schedule:
    """A number, or {start, end, over}, as a schedule of what is called `name`.

    Raises ValueError for anything else, and for numbers below 0.
    """
    if isinstance(given, Linear | Constant):
        return given
    parts = given if isinstance(given, dict) else {"value": given}
    if "over" in parts and parts["over"] is None:
        raise ValueError(
            f"{name} changes while steps are played, and there is no limit to them: give steps=, or a number"
        )
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in parts.values())
    if not numbers or set(parts) not in ({"value"}, {"start", "end", "over"}):
        raise ValueError(f"{name} must be a number, or numbers for start, end and over; not {given!r}")
    for part, number in parts.items():
        check_number(name if part == "value" else f"{name}.{part}", number, least=0)
    return Constant(**parts) if "value" in parts else Linear(**parts)
