"""Checks that a saved state has the structure of a fresh one, before compiled code uses it."""

from typing import Any

from torch import Tensor


def check_like(state: Any, fresh: Any, place: str) -> None:
    """Raises ValueError unless a saved tree has the same names, shapes and types as a fresh one at `place`.

    Empty parts of the fresh tree (dicts, lists, None, axes of length 0) may have any size in the saved one.
    """
    if isinstance(fresh, Tensor):
        if not _is_like(state, fresh):
            raise ValueError(f"{place} is {_describe(state)}, and must be {_describe(fresh)}")
    elif isinstance(fresh, dict) and fresh:
        names = set(state) if isinstance(state, dict) else set()
        if wrong := names ^ set(map(str, fresh)):
            raise ValueError(f"{place} must have {', '.join(map(str, fresh))}, unlike {', '.join(sorted(wrong))}")
        for name, each in fresh.items():
            check_like(state[str(name)], each, child_place(place, name))
    elif isinstance(fresh, list | tuple) and fresh:
        if not isinstance(state, list | tuple) or len(state) != len(fresh):
            raise ValueError(f"{place} must be a list of {len(fresh)}, not {_describe(state)}")
        for number, (one, other) in enumerate(zip(state, fresh, strict=True)):
            check_like(one, other, child_place(place, number))


def _is_like(state: Any, fresh: Tensor) -> bool:
    if not isinstance(state, Tensor) or state.dtype != fresh.dtype or state.ndim != fresh.ndim:
        return False
    return all(length in (other, 0) for other, length in zip(state.shape, fresh.shape, strict=True))


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__


def child_place(place: str, key: object) -> str:
    """Returns the path of a branch of a tree. "/" and "~" in keys are escaped."""
    return f"{place}/{str(key).replace('~', '~0').replace('/', '~1')}"
