"""A reservoir: a random sample, of fixed size, of all items that were ever added.

Vitter 1985, "Random sampling with a reservoir" (ACM Transactions on Mathematical Software 11:37, algorithm R). The n-th
item takes a random place with probability capacity / n, so that every item is kept with equal probability. If this
probability is p + 1 times as large, the n-th item is kept in proportion to n^p, as in Chao 1982, "A general purpose
unequal probability sampling plan" (Biometrika 69:653).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Reservoir:
    """At most `capacity` of the items added so far, the n-th one kept with a probability in proportion to n^`power`.

    This holds from (`power` + 1) * `capacity` items on; before, the last ones are kept with higher probability.

    An item is a row of several columns, tensors (N, …) on a device, whose shapes and types are those that are added
    first.
    """

    STATE = ("seen", "columns", "generator")

    def __init__(self, capacity: int, seed: int = 0, device: str = "cpu", power: int = 0):
        self.capacity, self.device, self.power, self.seen = capacity, device, power, 0
        self.columns: list[Tensor] = []  # (capacity, …), of which the first `len(self)` rows are filled
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, columns: Sequence[Tensor]) -> None:
        """Adds N items, given as columns (N, …)."""
        if not self.columns:
            self._allocate(columns)
        items, places = self._draw_places(len(columns[0]))
        for stored, new in zip(self.columns, columns, strict=True):
            stored[places] = new[items]
        self.seen += len(columns[0])

    def sample(self, count: int) -> list[Tensor]:
        """Returns the columns (count, …) of items drawn with replacement, in the order of memory."""
        index = torch.randint(len(self), (count,), generator=self.generator).sort().values
        return [each[index] for each in self.columns]

    def state(self) -> dict[str, Any]:
        """Returns what has been filled; see `get_state`."""
        columns = [each[: len(self)] for each in self.columns]
        return {"seen": self.seen, "columns": columns, "generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Fills the reservoir again; see `set_state`."""
        self.seen, self.columns = state["seen"], []
        self.generator.set_state(state["generator"])
        if state["columns"]:
            self._allocate(state["columns"])
        for stored, saved in zip(self.columns, state["columns"], strict=True):
            stored[: len(self)] = saved

    def _allocate(self, columns: Sequence[Tensor]) -> None:
        self.columns = [
            torch.empty(self.capacity, *each.shape[1:], dtype=each.dtype, device=self.device) for each in columns
        ]

    def _draw_places(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns which of `count` new items are kept (M,), and their places (M,), all different.

        Of several items that draw the same place the last one is kept, as if they came one after the other.
        """
        number = torch.arange(self.seen, self.seen + count)  # of items before each
        draw = torch.rand(count, generator=self.generator, dtype=torch.float64) * (number + 1) / (self.power + 1)
        place = torch.where(number < self.capacity, number, draw.long()).numpy()
        item = np.flatnonzero(place < self.capacity)[::-1]
        places, first = np.unique(place[item], return_index=True)
        return torch.from_numpy(item[first].copy()), torch.from_numpy(places)
