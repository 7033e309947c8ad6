"""The state of objects in checkpoints: the fields that a class names in `STATE`.

A field is a number, a text, None, a tensor, an array, a module, a generator of random numbers, another object with
state, or a tuple, list or dict of these. A class whose state is more than its fields has a method `state`. One in which
restoring needs more than assigning fields has a method `restore`, which may call `set_fields` for the others.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from marl_engine.numerics.state_checks import check_like, child_place

Value = TypeVar("Value")


class Saved(NamedTuple):
    """The saved state of a field that had no value when it was restored; see `resume_field`."""

    state: Any


def get_state(owner: Any) -> Any:
    """Returns the state of `owner` as a tree for a checkpoint; tensors share its memory."""
    state = getattr(type(owner), "state", None)
    return get_fields(owner) if state is None else state(owner)


def get_fields(owner: Any) -> dict[str, Any]:
    """Returns the fields that the class of `owner` names in `STATE`, for its method `state`."""
    return {name: _get_value(vars(owner)[name]) for name in type(owner).STATE}


def set_state(owner: Any, state: Any) -> Any:
    """Restores a state made by `get_state` in an object that was created in the same way.

    Returns what its method `restore` returns, if it has one, such as the turn of a game. Raises ValueError for a state
    with other names, shapes or types; axes that are empty in a new object may have any length.
    """
    kind, fresh = type(owner), get_state(owner)
    check_like(state, dict.fromkeys(fresh) if hasattr(kind, "STATE") else fresh, kind.__name__)
    restore = getattr(kind, "restore", None)
    return set_fields(owner, state) if restore is None else restore(owner, state)


def set_fields(owner: Any, state: Mapping[str, Any], names: Sequence[str] | None = None) -> None:
    """Restores the fields in `STATE`, or those with the given names, for a method `restore`."""
    kind = type(owner)
    for name in kind.STATE if names is None else names:
        setattr(owner, name, _set_value(vars(owner)[name], state[name], f"{kind.__name__}/{name}"))


def resume_field(owner: Any, name: str, fresh: Value, after: int) -> Value:
    """Gives a field of a solver its value from iteration `after` on, and returns it.

    It is `fresh` for a solver that begins. One that continues keeps its value, or has that of a checkpoint, for which
    `fresh` is the object to restore. Raises ValueError if the checkpoint does not fit.
    """
    value = vars(owner)[name]
    if after == 0 or value is None:
        value = fresh
    elif isinstance(value, Saved):
        value = _set_value(fresh, value.state, f"solver/{name}")
    setattr(owner, name, value)
    return value


def load_weights(module: nn.Module, weights: Mapping[str, Any], place: str) -> None:
    """Loads saved weights. Raises ValueError, with `place` in the message, for names, shapes or types of others."""
    check_like(weights, module.state_dict(), place)
    module.load_state_dict(weights)


def _get_value(value: Any) -> Any:
    if isinstance(value, Saved):
        return value.state
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, nn.Module):
        return value.state_dict()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, dict | list | tuple):
        return _get_items(value)
    return get_state(value)


def _get_items(items: Any) -> Any:
    """Returns the state of the items of a dict, list or tuple; dicts of objects become lists."""
    if hasattr(items, "_asdict"):
        return {name: _get_value(each) for name, each in items._asdict().items()}
    if _is_data(items):
        return type(items)(items)
    return [_get_value(each) for each in (items.values() if isinstance(items, dict) else items)]


def _set_value(value: Any, state: Any, place: str) -> Any:
    """Returns the new value of a field. Modules, generators and objects are changed in place."""
    if value is None or isinstance(value, Saved):
        return Saved(state) if isinstance(state, Tensor | dict | list | tuple) else state
    if isinstance(value, bool | int | float | str):
        return state
    if isinstance(value, dict | list | tuple):
        return _set_items(value, state, place)
    if isinstance(value, Tensor | np.ndarray | torch.Generator):
        check_like(state, _get_value(value), place)
    if isinstance(value, Tensor):
        return state.to(value.device).clone()
    if isinstance(value, np.ndarray):
        return state.numpy().copy()
    if isinstance(value, torch.Generator):
        value.set_state(state)
    elif isinstance(value, nn.Module):
        load_weights(value, state, place)
    else:
        set_state(value, state)
    return value


def _set_items(items: Any, state: Any, place: str) -> Any:
    """Returns a dict, list or tuple with restored items. Data may have any structure, and is replaced."""
    if hasattr(items, "_asdict"):
        check_like(state, dict.fromkeys(items._fields), place)
        return items._replace(
            **{name: _set_value(each, state[name], child_place(place, name)) for name, each in items._asdict().items()}
        )
    if _is_data(items):
        if isinstance(items, dict) != isinstance(state, Mapping):  # the state is of objects, which do not exist here
            raise ValueError(f"{place} has {len(state)} items, and must have {len(items)}")
        return type(items)(deepcopy(state))
    values = list(items.values() if isinstance(items, dict) else items)
    check_like(state, [None] * len(values), place)
    restored = [_set_value(each, state[number], child_place(place, number)) for number, each in enumerate(values)]
    return dict(zip(items, restored, strict=True)) if isinstance(items, dict) else type(items)(restored)


def _is_data(value: Any) -> bool:
    """Whether a value consists of numbers, texts and tensors only, in dicts, lists and tuples."""
    if isinstance(value, dict):
        return all(map(_is_data, value.values()))
    if isinstance(value, list | tuple):
        return not hasattr(value, "_asdict") and all(map(_is_data, value))
    return value is None or isinstance(value, bool | int | float | str | Tensor)
