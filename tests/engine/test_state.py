"""The state of an object is that of the fields that its class names; restoring it makes these fields equal."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from marl_engine.numerics.state import get_state, load_weights, resume_field, set_state
from marl_engine.runs.checkpoint import read, write


@dataclass
class Inner:
    """One number, with methods of its own."""

    number: int = 0

    def state(self):
        return {"number": self.number}

    def restore(self, state):
        self.number = state["number"]


class Table(NamedTuple):
    """Two arrays."""

    one: np.ndarray
    other: np.ndarray


@dataclass
class Part:
    """An object with a field, whose class restores by itself."""

    STATE = ("number",)
    number: int = 0
    restored: int = 0

    def restore(self, state):
        self.number, self.restored = state["number"], self.restored + 1
        return "turn"


@dataclass
class Learner:
    """A field of every kind, and one that is not saved."""

    STATE = ("count", "label", "nothing", "tensor", "array", "layer", "generator", "inner", "work", "recent")
    STATE += ("table", "layers", "parts")

    count: int = 0
    label: str = ""
    nothing: str | None = None
    tensor: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    array: np.ndarray = field(default_factory=lambda: np.zeros(0))
    layer: nn.Module = field(default_factory=lambda: nn.Linear(2, 1))
    generator: torch.Generator = field(default_factory=torch.Generator)
    inner: Inner = field(default_factory=Inner)
    work: Counter[str] = field(default_factory=Counter)
    recent: list = field(default_factory=list)
    table: Table = field(default_factory=lambda: Table(np.zeros(2), np.zeros((0, 3))))
    layers: dict = field(default_factory=lambda: {nn.Identity(): nn.Linear(1, 1), nn.Identity(): nn.Linear(1, 1)})
    parts: list = field(default_factory=lambda: [Part(), Part()])
    seconds: float = 0.0


def changed():
    """Returns a learner with other values in all fields."""
    one = Learner(3, "three", "something", torch.arange(3.0), np.arange(4.0), seconds=9.0)
    one.inner.number = 7
    one.generator.manual_seed(5)
    one.work.update(steps=3)
    one.recent.append([torch.ones(2), {"a": torch.zeros(1)}, 4])
    one.table = Table(np.arange(2.0), np.ones((5, 3)))
    one.parts[1].number = 8
    return one


@pytest.mark.parametrize("through", [lambda state, path: state, lambda state, path: read(write(path, 0, state))])
def test_a_state_loaded_into_another_object_equals_the_declared_fields(through, tmp_path):
    one, other = changed(), Learner()
    kept = [other.layer, other.inner, *other.layers.values(), *other.parts]
    set_state(other, through(get_state(one), tmp_path))
    scalars = other.count, other.label, other.nothing, other.seconds, other.inner.number
    assert scalars == (3, "three", "something", 0, 7)
    assert torch.equal(other.tensor, one.tensor)
    assert np.array_equal(other.array, one.array)
    assert torch.equal(torch.rand(4, generator=other.generator), torch.rand(4, generator=one.generator))
    assert other.work == Counter(steps=3)
    assert type(other.work) is Counter
    assert torch.equal(other.recent[0][0], torch.ones(2))
    assert other.recent[0][2] == 4
    assert type(other.table) is Table
    assert all(np.array_equal(*pair) for pair in zip(other.table, one.table, strict=True))
    assert [(each.number, each.restored) for each in other.parts] == [(0, 1), (8, 1)]
    for layer, its in zip([other.layer, *other.layers.values()], [one.layer, *one.layers.values()], strict=True):
        assert torch.equal(layer.weight, its.weight)
    now = [other.layer, other.inner, *other.layers.values(), *other.parts]
    assert all(each is before for each, before in zip(now, kept, strict=True))


def test_what_was_put_into_another_object_shares_no_memory():
    one, other = changed(), Learner()
    set_state(other, get_state(one))
    one.tensor += 1
    one.array += 1
    one.recent[0][0] += 1
    one.table.one[:] = 7
    assert torch.equal(other.tensor, torch.arange(3.0))
    assert other.array.tolist() == [0, 1, 2, 3]
    assert other.recent[0][0].tolist() == [1, 1]
    assert other.table.one.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("count"), "Learner must have .*, unlike count$"),
        (lambda state: state.update(more=1), "Learner must have .*, unlike more$"),
        (lambda state: state.update(tensor=torch.zeros(2, 1)), r"Learner/tensor is float32 \[2, 1\], and must be"),
        (
            lambda state: state.update(array=torch.zeros(2)),
            r"Learner/array is float32 \[2\], and must be",
        ),
        (lambda state: state["layer"].pop("bias"), "Learner/layer must have weight, bias, unlike bias$"),
        (lambda state: state["layer"].update(bias=torch.zeros(2)), r"Learner/layer/bias is float32 \[2\], and must be"),
        (lambda state: state["table"].update(one=None), r"Learner/table/one is NoneType, and must be float64 \[2\]"),
        (lambda state: state["layers"].pop(), "Learner/layers must be a list of 2, not a list of 1"),
        (lambda state: state["parts"][0].clear(), "Part must have number, unlike number"),
        (lambda state: state["inner"].clear(), "Inner must have number, unlike number"),
        (lambda state: state.update(generator=None), "Learner/generator is NoneType, and must be uint8"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, sentence):
    state = deepcopy(get_state(changed()))
    change(state)
    with pytest.raises(ValueError, match=sentence):
        set_state(Learner(), state)


def test_weights_are_loaded_where_they_fit():
    one, other = nn.Linear(2, 3), nn.Linear(2, 3)
    load_weights(other, one.state_dict(), "policy")
    assert torch.equal(one.weight, other.weight)
    with pytest.raises(ValueError, match=r"^policy/weight is float32 \[3, 2\], and must be float32 \[4, 2\]$"):
        load_weights(nn.Linear(2, 4), one.state_dict(), "policy")


@dataclass
class Solver:
    """Creates its table when it begins."""

    STATE = ("table",)
    table: Table | None = None

    def begin(self, value, after, size=2):
        return resume_field(self, "table", Table(np.full(size, value), np.zeros((0, 3))), after)


def test_a_field_without_a_value_is_restored_when_a_solver_continues():
    one = Solver()
    assert one.begin(1.0, after=0).one.tolist() == [1, 1]
    one.table.one[:] = 5
    assert one.begin(1.0, after=3) is one.table
    state = deepcopy(get_state(one))
    other = Solver()
    set_state(other, state)
    assert get_state(other)["table"] is state["table"]
    assert other.begin(1.0, after=3).one.tolist() == [5, 5]
    other.table.one[:] = 6
    assert state["table"]["one"].tolist() == [5, 5]
    assert other.begin(1.0, after=0).one.tolist() == [1, 1]
    unlike = Solver()
    set_state(unlike, state)
    with pytest.raises(ValueError, match=r"^solver/table/one is float64 \[2\], and must be float64 \[3\]$"):
        unlike.begin(1.0, after=3, size=3)


def test_what_a_class_restores_by_itself_is_returned():
    assert set_state(Part(), {"number": 1}) == "turn"


def test_states_of_objects_do_not_fit_where_there_are_none():
    class Owner:
        STATE = ("objects",)

        def __init__(self, objects):
            self.objects = objects

    state = get_state(Owner({"a": torch.nn.Linear(1, 1)}))
    with pytest.raises(ValueError, match=r"Owner/objects has 1 items, and must have 0"):
        set_state(Owner({}), state)
