"""The state of objects in checkpoints: the fields that a class names in `STATE`.

A field is a tensor, an array, a number, a text, None, a dict of such data, a module, a generator of random numbers, or
another object with state. A class whose state is more than its fields, or whose fields are created later, has methods
`state` and `restore` instead of `STATE`.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def get_state(owner: Any) -> dict[str, Any]:
    """Returns the state of `owner` as a tree for a checkpoint; tensors share its memory."""
    names = getattr(type(owner), "STATE", None)
    return owner.state() if names is None else {name: _field_state(vars(owner)[name]) for name in names}


def set_state(owner: Any, state: Mapping[str, Any]) -> None:
    """Restores a state made by `get_state` in an object that was created in the same way."""
    names = getattr(type(owner), "STATE", None)
    if names is None:
        owner.restore(state)
    else:
        for name in names:
            setattr(owner, name, _restored_field(vars(owner)[name], state[name]))


def _field_state(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, nn.Module):
        return value.state_dict()
    return value.get_state() if isinstance(value, torch.Generator) else get_state(value)


def _restored_field(value: Any, state: Any) -> Any:
    """Returns the new value of a field. Modules, generators and objects are changed in place."""
    if value is None or isinstance(value, bool | int | float | str):
        return state
    if isinstance(value, Tensor):
        return state.to(value.device).clone()
    if isinstance(value, np.ndarray):
        return state.numpy().copy()
    if isinstance(value, dict):
        return type(value)(deepcopy(state))
    if isinstance(value, nn.Module):
        value.load_state_dict(state)
    elif isinstance(value, torch.Generator):
        value.set_state(state)
    else:
        set_state(value, state)
    return value
