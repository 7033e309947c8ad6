"""Checks of numbers and arrays.

NaN is always refused, infinity unless it is allowed; error messages give the valid range.
"""

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np

from marl_engine.errors import Refused


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    infinite: bool = False,
) -> None:
    """Raises Refused unless `value` is a number within the given bounds.

    `least` and `most` belong to the range, `above` and `below` do not. With `whole` the number must be an integer. NaN
    is always refused; infinity is refused unless `infinite`. `name` is the name that the user knows, such as
    "solver.step_size".
    """
    kind = Integral if whole else Real
    valid = isinstance(value, kind) and not isinstance(value, bool | np.bool_) and value == value
    valid = valid and (infinite or abs(value) != float("inf"))
    valid = valid and (least is None or value >= least) and (above is None or value > above)
    valid = valid and (most is None or value <= most) and (below is None or value < below)
    if not valid:
        noun = "a whole number" if whole else "a number" if infinite else "a finite number"
        raise Refused(f"{name} must be {noun}{describe_range(least, above, most, below)}, not {value!r}")


def check_fields(place: str, owner: Any, *names: str, **bounds: Any) -> None:
    """Raises Refused unless the named fields of an object meet the bounds of `check_number`.

    `place` is the name of its section, such as "solver".
    """
    for name in names:
        check_number(f"{place}.{name}", vars(owner)[name], **bounds)


def check_choices(place: str, owner: object, **choices: Collection[str]) -> None:
    """Raises Refused unless the named fields of an object are among their choices; see `check_fields`."""
    for name, options in choices.items():
        if vars(owner)[name] not in options:
            raise Refused(f"{place}.{name} must be one of {', '.join(options)}, not {vars(owner)[name]!r}")


def describe_range(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    """Describes bounds in words, such as " above 0 and at most 1"; returns an empty string if there are none."""
    bounds = [
        text
        for bound, text in (
            (least, f"of {least} or more" if most is None and below is None else f"of at least {least}"),
            (above, f"above {above}"),
            (most, f"at most {most}" if least is not None or above is not None else f"of at most {most}"),
            (below, f"below {below}"),
        )
        if bound is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""


def check_finite(name: str, values: Any) -> None:
    """Raises Refused, with the first index and its value, unless all numbers of an array are finite."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise Refused(f"{name} must be real numbers, not an array of {array.dtype}")
    if not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise Refused(f"{name} must be finite numbers; at {list(place)} it has {array[place]}")


def check_distributions(name: str, values: Any, tolerance: float = 1e-6) -> None:
    """Raises Refused unless an array (..., A) contains probability distributions along its last axis."""
    check_finite(name, values)
    array = np.asarray(values, float)
    if (array < 0).any():
        raise Refused(f"{name} must be chances of 0 or more, not {array.min():g}")
    sums = array.sum(-1)
    wrong = np.abs(sums - 1) > tolerance
    if wrong.any():
        raise Refused(f"{name} must be chances that add up to 1, not to {sums[wrong].flat[0]:g}")
