"""Checks of numbers, whose messages name the valid values."""

import re
from math import inf, nan

import numpy as np
import pytest

from marl_engine.capabilities import LevelGame
from marl_engine.errors import Refused
from marl_engine.numerics.checks import check_distributions, check_finite, check_number
from marl_engine.runs.requirements import check_parts


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (0, {"least": 0}),
        (1.0, {"least": 0, "most": 1}),
        (np.float32(0.5), {"above": 0, "below": 1}),
        (np.int64(3), {"least": 1, "whole": True}),
        (inf, {"least": 0, "infinite": True}),
    ],
)
def test_valid_numbers_pass(value, bounds):
    check_number("x", value, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "sentence"),
    [
        (nan, {}, "x must be a finite number, not nan"),
        (nan, {"infinite": True}, "x must be a number, not nan"),
        (inf, {"least": 0}, "x must be a finite number of 0 or more, not inf"),
        (0, {"above": 0}, "x must be a finite number above 0, not 0"),
        (2, {"least": 0, "most": 1}, "x must be a finite number of at least 0 and at most 1, not 2"),
        (1, {"least": 0, "below": 1}, "x must be a finite number of at least 0 and below 1, not 1"),
        (1.5, {"least": 1, "whole": True}, "x must be a whole number of 1 or more, not 1.5"),
        (True, {"whole": True}, "x must be a whole number, not True"),
        ("1", {}, "x must be a finite number, not '1'"),
    ],
)
def test_invalid_numbers_are_refused_in_a_sentence(value, bounds, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_number("x", value, **bounds)


def test_arrays_are_finite_and_real():
    check_finite("x", [[1, 2.5]])
    with pytest.raises(ValueError, match=r"x must be finite numbers; at \[0, 1\] it has nan"):
        check_finite("x", [[1, nan]])
    with pytest.raises(ValueError, match="real numbers, not an array of complex128"):
        check_finite("x", [1j])


def test_chances_add_up():
    check_distributions("x", [[0.25, 0.75], [1, 0]])
    with pytest.raises(ValueError, match=r"chances that add up to 1, not to 0\.5"):
        check_distributions("x", [[0.25, 0.25], [1, 0]])
    with pytest.raises(ValueError, match=r"chances of 0 or more, not -0\.5"):
        check_distributions("x", [1.5, -0.5])


def test_declared_capabilities_are_checked_without_a_preset_that_has_them():
    with pytest.raises(Refused, match=r"^object has no levels: Solver needs `players`, .*`restart`$"):
        check_parts("Solver", {"game": LevelGame}, game=object())
