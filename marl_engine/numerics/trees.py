"""Trees of tensors: None, a tensor, or a tuple or dict of trees. What policies remember is kept in them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The tree of `function` of the tensors that stand in the same place of trees alike; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {name: map_tree(function, each, *(other[name] for other in others)) for name, each in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(map_tree(function, *each) for each in zip(tree, *others, strict=True))
    return function(tree, *others)


def same_layout(tree: Any, other: Any) -> bool:
    """Whether two trees have the same branches, and tensors of the same shapes and types; lists count as tuples."""
    if isinstance(tree, dict) and isinstance(other, dict):
        return tree.keys() == other.keys() and all(same_layout(each, other[name]) for name, each in tree.items())
    if isinstance(tree, tuple | list) and isinstance(other, tuple | list):
        return len(tree) == len(other) and all(map(same_layout, tree, other))
    if isinstance(tree, Tensor) and isinstance(other, Tensor):
        return tree.shape == other.shape and tree.dtype == other.dtype
    return tree is None and other is None


def choose_rows(mask: Tensor, tree: Any, other: Any) -> Any:
    """The rows (N, …) of one tree where mask (N,) is True, and of the other elsewhere."""
    return map_tree(lambda one, two: torch.where(mask.view(-1, *[1] * (one.ndim - 1)), one, two), tree, other)


def match_layout(initial: Any, *trees: Any) -> Any:
    """Returns the first of several trees that has the layout of `initial`, on its device; `initial` if none has it."""
    tree = next((each for each in trees if same_layout(each, initial)), initial)
    return map_tree(lambda fresh, each: each.to(fresh.device), initial, tree)


def spread_rows(rows: Tensor, mask: Tensor) -> Tensor:
    """Returns a tensor with the given rows (M, …), in order, where a mask of any shape is True, and zeros elsewhere."""
    spread = rows.new_zeros(*mask.shape, *rows.shape[1:])
    spread[mask] = rows
    return spread
