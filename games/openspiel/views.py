"""What a seat observes of a state: OpenSpiel's tensor of the information state, or that of the observation."""

from math import prod
from typing import Any

import numpy as np
from torch import Tensor

INFORMATION_STATE, OBSERVATION = "information_state", "observation"


class View:
    """Tensors of one kind, (D,) float32 each.

    `shape` is that of an observation for networks. A tensor (planes, height, width) becomes an image (height, width,
    planes).
    """

    def __init__(self, game: Any, kind: str):
        self.recall = kind == INFORMATION_STATE
        axes = game.information_state_tensor_shape() if self.recall else game.observation_tensor_shape()
        self.axes, self.size = tuple(axes), prod(axes)
        self.shape = (*self.axes[1:], self.axes[0]) if len(self.axes) == 3 else (self.size,)
        self.observer = make_observer(game, self.recall, self.size)
        self.content = None if self.observer is None else memoryview(self.observer.tensor).cast("B")

    def read(self, state: Any, seat: int) -> Any:
        """Returns the bytes of what a seat is shown, D numbers; they are valid until the next call."""
        if self.observer is None:
            return np.array(self._list(state, seat), np.float32).tobytes()
        self.observer.set_from(state, seat)
        return self.content

    def _list(self, state: Any, seat: int) -> list[float]:
        numbers = state.information_state_tensor(seat) if self.recall else state.observation_tensor(seat)
        return list(numbers)

    def arrange(self, rows: Tensor) -> Tensor:
        """Returns rows (N, D) as observations (N, *shape)."""
        return rows.unflatten(1, self.axes).permute(0, 2, 3, 1) if len(self.axes) == 3 else rows


def make_view(name: str, game: Any, kind: str | None) -> View:
    """Returns the view of a kind; None: of information states where the game has their tensors.

    Raises ValueError if the game does not have them.
    """
    has = game.get_type()
    offers = {
        INFORMATION_STATE: has.provides_information_state_tensor,
        OBSERVATION: has.provides_observation_tensor,
    }
    provided = [each for each, offered in offers.items() if offered]
    if not provided:
        raise ValueError(f"OpenSpiel's {name!r} shows its players no tensors, so networks cannot play it")
    if kind is not None and kind not in provided:
        raise ValueError(f"game.observation must be one of {', '.join(provided)}, or null, in {name!r}, not {kind!r}")
    return View(game, kind or provided[0])


def make_observer(game: Any, recall: bool, size: int) -> Any:
    """Returns OpenSpiel's observer, which writes tensors (size,) without making lists; None if it has none."""
    import pyspiel
    from open_spiel.python.observation import make_observation

    try:
        observer = make_observation(game, pyspiel.IIGObservationType(perfect_recall=recall))
    except (RuntimeError, ValueError, TypeError):  # pyspiel.SpielError is a RuntimeError
        return None
    tensor = None if observer is None else observer.tensor
    fits = tensor is not None and tensor.size == size and tensor.dtype == np.float32
    return observer if fits else None
