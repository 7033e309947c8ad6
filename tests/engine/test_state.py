"""The state of an object is that of the fields that its class names; restoring it makes these fields equal."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from marl_engine.numerics.state import get_state, set_state


@dataclass
class Inner:
    """One number, with methods of its own."""

    number: int = 0

    def state(self):
        return {"number": self.number}

    def restore(self, state):
        self.number = state["number"]


@dataclass
class Learner:
    """A field of every kind, and one that is not saved."""

    STATE = ("count", "label", "nothing", "tensor", "array", "layer", "generator", "inner", "work")

    count: int = 0
    label: str = ""
    nothing: str | None = None
    tensor: torch.Tensor = field(default_factory=lambda: torch.zeros(2))
    array: np.ndarray = field(default_factory=lambda: np.zeros(2))
    layer: nn.Module = field(default_factory=lambda: nn.Linear(2, 1))
    generator: torch.Generator = field(default_factory=torch.Generator)
    inner: Inner = field(default_factory=Inner)
    work: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def test_a_state_put_into_another_object_makes_the_named_fields_equal():
    one, other = Learner(), Learner()
    layer, inner = other.layer, other.inner
    one.count, one.label, one.nothing, one.seconds, one.inner.number = 3, "three", "something", 9.0, 7
    one.tensor, one.array = torch.arange(3.0), np.arange(4.0)
    one.generator.manual_seed(5)
    one.work.update(steps=3)
    set_state(other, get_state(one))
    assert (other.count, other.label, other.nothing, other.seconds, other.inner.number) == (
        3,
        "three",
        "something",
        0,
        7,
    )
    assert torch.equal(other.tensor, one.tensor)
    assert np.array_equal(other.array, one.array)
    assert torch.equal(torch.rand(4, generator=other.generator), torch.rand(4, generator=one.generator))
    assert other.work == Counter(steps=3)
    assert type(other.work) is Counter
    assert other.layer is layer
    assert other.inner is inner
    assert torch.equal(layer.weight, one.layer.weight)


def test_what_was_put_into_another_object_shares_no_memory():
    one, other = Learner(), Learner()
    set_state(other, get_state(one))
    one.tensor += 1
    one.array += 1
    assert not other.tensor.any()
    assert not other.array.any()
