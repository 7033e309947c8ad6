"""What a checkpoint keeps of an object: the fields that its class names in `STATE`.

A field is a tensor, an array, a number, a text, None, a module, a generator of random numbers, or again an object with
state. A class whose state is more than its fields, or is put in place only later, has methods `state` and `restore`
instead of `STATE`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def get_state(owner: Any) -> dict[str, Any]:
    """A tree of what `owner` keeps, for a checkpoint; tensors share its memory."""
    names = getattr(type(owner), "STATE", None)
    return owner.state() if names is None else {name: _field_state(vars(owner)[name]) for name in names}


def set_state(owner: Any, state: Mapping[str, Any]) -> None:
    """Puts a tree that `get_state` made into an object made in the same way."""
    names = getattr(type(owner), "STATE", None)
    if names is None:
        owner.restore(state)
    else:
        for name in names:
            setattr(owner, name, _restored(vars(owner)[name], state[name]))


def _field_state(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, nn.Module):
        return value.state_dict()
    return value.get_state() if isinstance(value, torch.Generator) else get_state(value)


def _restored(value: Any, state: Any) -> Any:
    """The value that a field gets in place of `value`; modules, generators and objects stay, and are changed."""
    if value is None or isinstance(value, bool | int | float | str):
        return state
    if isinstance(value, Tensor):
        return state.to(value.device).clone()
    if isinstance(value, np.ndarray):
        return state.numpy().copy()
    if isinstance(value, nn.Module):
        value.load_state_dict(state)
    elif isinstance(value, torch.Generator):
        value.set_state(state)
    else:
        set_state(value, state)
    return value
