"""Compilation of numerical loops with numba."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}


def compile_loop(function: Callable) -> Callable[..., Any]:
    """Compiles a function with numba and caches the machine code on disk.

    The compiled function releases the GIL, and division by zero gives infinity. numba invalidates its cache only if the
    file of the function changes, but inlined functions, constants and named tuples may come from other files. A hash of
    these, and of the options above, is therefore added to the name of the function.

    Arrays are passed without reference counting (`_nrt=False`). Counting references of a tuple of ten arrays took three
    quarters of the time of the rules of Overcooked.
    """
    depends_on = sorted(map(repr, OPTIONS.items())), sorted(map(repr, function.__annotations__.items()))
    function.__qualname__ += f"_{crc32(repr((*depends_on, list_dependencies(function))).encode()):08x}"
    return njit(cache=True, **OPTIONS)(function)


def compile_inline(function: Callable) -> Callable[..., Any]:
    """Compiles a function that is inlined into every compiled loop that calls it.

    Most such functions are cheaper than a call.
    """
    return njit(forceinline=True, **OPTIONS)(function)


def list_dependencies(function: Callable) -> list[Any]:
    """Returns the constants that a function uses, and recursively the code of the compiled functions that it calls."""
    names = function.__code__.co_names
    values = [function.__globals__[name] for name in names if name in function.__globals__]  # type: ignore[attr-defined]
    constants = [repr(each) for each in values if isinstance(each, int | float | str | tuple | np.generic)]
    parts = [each.py_func for each in values if isinstance(each, Dispatcher)]
    return [constants, *((each.__code__.co_code, each.__code__.co_consts, list_dependencies(each)) for each in parts)]
