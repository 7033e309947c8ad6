"""What a seat observes of a state: OpenSpiel's tensor of the information state, or that of the observation."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

INFORMATION_STATE, OBSERVATION = "information_state", "observation"


class View:
    """Tensors of one kind, (D,) float32 each.

    `shape` is that of an observation for networks. A tensor (planes, height, width) becomes an image (height, width,
    planes). If `seat_planes` names the plane of each seat's pieces, these planes are rotated: each seat sees its own
    pieces in the plane of seat 0, those of the next seat in that of seat 1, and so on.
    """

    def __init__(self, game: Any, kind: str, seat_planes: Sequence[int] = ()):
        self.recall = kind == INFORMATION_STATE
        axes = game.information_state_tensor_shape() if self.recall else game.observation_tensor_shape()
        self.axes, self.size = tuple(axes), prod(axes)
        self.shape = (*self.axes[1:], self.axes[0]) if len(self.axes) == 3 else (self.size,)
        self.order = plane_order(seat_planes, self.axes[0]) if seat_planes else None
        self.observer = make_observer(game, self.recall, self.size)
        self.content = None if self.observer is None else memoryview(self.observer.tensor).cast("B")

    def read(self, state: Any, seat: int) -> Any:
        """Returns the bytes of what a seat is shown, D numbers; they are valid until the next call."""
        if self.observer is None:
            return np.array(self._list(state, seat), np.float32).tobytes()
        self.observer.tensor.fill(0)  # python_dynamic_routing writes a part of it
        self.observer.set_from(state, seat)
        return self.content

    def _list(self, state: Any, seat: int) -> list[float]:
        numbers = state.information_state_tensor(seat) if self.recall else state.observation_tensor(seat)
        return list(numbers)

    def arrange(self, rows: Tensor) -> Tensor:
        """Returns rows (B, P, D) as observations (B, P, *shape)."""
        if len(self.axes) != 3:
            return rows
        planes = rows.unflatten(2, self.axes)
        if self.order is not None:
            planes = planes[:, torch.arange(len(self.order))[:, None], self.order]
        return planes.permute(0, 1, 3, 4, 2)


def plane_order(seat_planes: Sequence[int], planes: int) -> Tensor:
    """Returns the plane (P, C) that each seat sees in each place; see `View`."""
    order = torch.arange(planes).repeat(len(seat_planes), 1)
    for seat in range(len(seat_planes)):
        order[seat, list(seat_planes)] = torch.tensor([*seat_planes[seat:], *seat_planes[:seat]])
    return order


def make_view(name: str, game: Any, kind: str | None, seat_planes: Sequence[int] | None = None) -> View:
    """Returns the view of a kind; None: of information states where the game has their tensors.

    Raises ValueError if the game does not have them, or no such planes.
    """
    has = game.get_type()
    offers = {
        INFORMATION_STATE: has.provides_information_state_tensor and has_axes(game.information_state_tensor_shape),
        OBSERVATION: has.provides_observation_tensor and has_axes(game.observation_tensor_shape),
    }
    provided = [each for each, offered in offers.items() if offered]
    if not provided:
        raise ValueError(f"OpenSpiel's {name!r} shows its players no tensors, so networks cannot play it")
    if kind is not None and kind not in provided:
        raise ValueError(f"game.observation must be one of {', '.join(provided)}, or null, in {name!r}, not {kind!r}")
    view = View(game, kind or provided[0])
    if seat_planes is None:
        return view
    planes, seats = range(view.axes[0] if len(view.axes) == 3 else 0), game.num_players()
    if len(seat_planes) != seats or len(set(seat_planes)) != seats or not set(seat_planes) <= set(planes):
        raise ValueError(
            f"game.seat_planes must name a plane for each of the {seats} seats, out of the {len(planes)} planes of "
            f"{name!r}, or be null, not {list(seat_planes)}"
        )
    return View(game, kind or provided[0], seat_planes)


def has_axes(shape: Callable[[], Any]) -> bool:
    """Whether tensors have a shape. Some games promise tensors, and have none."""
    try:
        return len(shape()) > 0
    except RuntimeError:  # pyspiel.SpielError
        return False


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
