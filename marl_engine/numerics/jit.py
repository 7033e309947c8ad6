"""Loops over numbers as machine code."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

from numba import njit
from numba.core.dispatcher import Dispatcher

OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}


def compile_loop(function: Callable) -> Callable[..., Any]:
    """A loop over numbers as machine code, kept on disk, that holds no lock; what divides by zero is infinite.

    Numba keeps machine code until the file of the loop changes. Parts from other files are compiled into it, and
    the options above, so a mark of both is put into its name.

    Arrays are passed without reference counts (`_nrt=False`): counting those of a struct of ten arrays took
    three quarters of the time of the rules of Overcooked.
    """
    function.__qualname__ += (
        f"_{crc32(repr((sorted(map(repr, OPTIONS.items())), list_inlined_code(function))).encode()):08x}"
    )
    return njit(cache=True, **OPTIONS)(function)


def compile_inline(function: Callable) -> Callable[..., Any]:
    """A part of compiled loops, compiled into each of them: a call would cost more than most parts do."""
    return njit(forceinline=True, **OPTIONS)(function)


def list_inlined_code(function: Callable) -> list[Any]:
    """The byte code of what a function calls of ours, and of what that calls."""
    called = (function.__globals__.get(name) for name in function.__code__.co_names)  # type: ignore[attr-defined]
    parts = [each.py_func for each in called if isinstance(each, Dispatcher)]
    return [(each.__code__.co_code, each.__code__.co_consts, list_inlined_code(each)) for each in parts]
