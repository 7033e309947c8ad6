"""The observations and actions that a game declares."""

from typing import Any, NamedTuple

from torch import Tensor


class ActionSpace(NamedTuple):
    """The actions of a seat: one of `size` actions, numbered from 0, several such choices, or `size` numbers in bounds.

    With `branches` an action (B, P, K) int64 consists of K independent choices, the k-th one of `branches[k]` actions;
    `size` is their sum, and `legal` (B, P, A) has them one after the other.
    """

    size: int  # A, or D
    low: Tensor | None = None  # (D,) float32, -inf without a bound; None: actions are numbered
    high: Tensor | None = None  # (D,) float32, inf without a bound
    names: tuple[str, ...] = ()  # of the A actions or D components; (): none
    branches: tuple[int, ...] = ()  # numbers of actions of K choices; (): one choice

    @property
    def is_box(self) -> bool:
        """Whether actions are (B, P, D) float32, not int64."""
        return self.low is not None


class Spaces(NamedTuple):
    """Observations and actions of every seat, padded to the same shapes: with zeros, and with illegal actions."""

    observation_shape: tuple[int, ...]
    action: ActionSpace
    observation_dtype: Any = None  # a torch.dtype; None: not declared
    groups: tuple[int, ...] = ()  # of each seat, from 0: seats of one group have equal spaces; (): all in one
