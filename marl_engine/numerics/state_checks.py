"""Checks that a saved state has the structure of a fresh one, before compiled code uses it."""

from typing import Any

from torch import Tensor


def check_like(saved: Any, fresh: Any, place: str) -> None:
    """Raises ValueError unless a saved tree has the same names, shapes and types as a fresh one at `place`.

    Empty parts of the fresh tree (dicts, lists, None, axes of length 0) may have any size in the saved one.
    """
    if isinstance(fresh, Tensor):
        if not _is_like(saved, fresh):
            raise ValueError(f"{place} is {_describe(saved)}, and must be {_describe(fresh)}")
    elif isinstance(fresh, dict) and fresh:
        names = set(saved) if isinstance(saved, dict) else set()
        if wrong := names ^ set(map(str, fresh)):
            raise ValueError(f"{place} must have {', '.join(map(str, fresh))}, unlike {', '.join(sorted(wrong))}")
        for name, each in fresh.items():
            check_like(saved[str(name)], each, _inside(place, name))
    elif isinstance(fresh, list | tuple) and fresh:
        if not isinstance(saved, list | tuple) or len(saved) != len(fresh):
            raise ValueError(f"{place} must be a list of {len(fresh)}, not {_describe(saved)}")
        for number, (one, other) in enumerate(zip(saved, fresh, strict=True)):
            check_like(one, other, _inside(place, number))


def _is_like(saved: Any, fresh: Tensor) -> bool:
    if not isinstance(saved, Tensor) or saved.dtype != fresh.dtype or saved.ndim != fresh.ndim:
        return False
    return all(length in (other, 0) for other, length in zip(saved.shape, fresh.shape, strict=True))


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__


def _inside(place: str, key: object) -> str:
    """Returns the path of a branch of a tree. "/" and "~" in keys are escaped."""
    return f"{place}/{str(key).replace('~', '~0').replace('/', '~1')}"
