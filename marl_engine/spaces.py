"""The observations and actions that a game declares."""

from typing import Any, NamedTuple

from torch import Tensor


class ActionSpace(NamedTuple):
    """The actions of a seat, of one of three kinds.

    - numbered: one of `size` actions, from 0;
    - with `branches`: K independent choices, the k-th one of `branches[k]` actions, as (B, P, K) int64. `size` is the
      sum of `branches`, and `legal` (B, P, A) has the actions of all choices one after the other;
    - with `low` and `high`: `size` numbers within these bounds.
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
    observation_sizes: tuple[int, ...] = ()  # of each seat: features before padding; (): all
    action_sizes: tuple[int, ...] = ()  # of each seat: actions, or numbers, before padding; (): all
