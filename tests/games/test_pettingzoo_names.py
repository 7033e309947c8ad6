"""Names and functions of PettingZoo environments; what is said of those that are none, and of those that fail."""

import sys

import pytest
import torch

from games.pettingzoo import names
from games.pettingzoo.game import PettingZoo
from marl_engine.errors import Halted, Refused
from marl_engine.rollout.game_contract import check_game, random_actions


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (
            "mpe2.simple_spred_v3",
            r"no environment 'mpe2.simple_spred_v3'; choose from mpe2.simple_spread_v3, .* in all",
        ),
        ("conect_four", r"choose from pettingzoo.classic.connect_four_v3, "),
        ("connect_four_v2", r"choose from pettingzoo.classic.connect_four_v3, "),
        ("foreign_worlds:Nobody", r"foreign_worlds has no function Nobody"),
        ("foreign_wrlds:Relay", r"cannot be imported: No module named 'foreign_wrlds'"),
        ("collections:OrderedDict", r"does not list its possible_agents"),
    ],
)
def test_names_that_are_none(env, sentence):
    with pytest.raises(Refused, match=sentence):
        PettingZoo(env, workers=0)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    for name in [each for each in sys.modules if "rlcard" in each or "texas" in each]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rlcard", None)  # cannot be imported, whether it is installed or not
    with pytest.raises(
        Refused, match=r"texas_holdem_v4 cannot be imported: .*; get it with pip install 'marl_engine\[classic\]'"
    ):
        PettingZoo("texas_holdem", workers=0)
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with pytest.raises(
        Refused, match=r"game.env=mpe2.simple_v3 needs mpe2; get it with pip install 'marl_engine\[pettingzoo\]'"
    ):
        PettingZoo("mpe2.simple_v3", workers=0)
    with pytest.raises(
        Refused, match=r"game.env=simple_v3 needs PettingZoo; get it with pip install 'marl_engine\[pettingzoo\]'"
    ):
        PettingZoo("simple_v3", workers=0)


def test_arguments_that_are_none():
    with pytest.raises(Refused, match=r"no key game.arguments.M; choose from game.arguments.N, "):
        PettingZoo("mpe2.simple_spread_v3", {"M": 3})
    with pytest.raises(Refused, match=r"no key game.arguments.limits; choose from game.arguments.limit, "):
        PettingZoo("foreign_worlds:Relay", {"limits": 3})
    with pytest.raises(Refused, match=r"no key game.arguments.render; choose from game.arguments.render_mode, "):
        PettingZoo("foreign_worlds:Mixed", {"render": 3})
    with pytest.raises(Refused, match=r"simple_spread refuses game.arguments {'N': 'three'}: "):
        PettingZoo("simple_spread", {"N": "three"})


@pytest.mark.parametrize(
    "name", ["classic/tictactoe", "tictactoe_v3", "classic/tictactoe-v3", "pettingzoo.classic.tictactoe_v3"]
)
def test_short_names(name):
    assert PettingZoo(name, workers=0).observation_shape == (3, 3, 2)


def test_a_module_of_the_users_holds_an_environment():
    """Its name has no dot; the environment is that of `parallel_env`, `env` or `raw_env`."""
    assert PettingZoo("foreign_module", workers=0).players == 3
    with pytest.raises(Refused, match=r"foreign_worlds has no function parallel_env or env or raw_env"):
        PettingZoo("foreign_worlds", workers=0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_exception_of_an_environment_is_shown_once_with_its_own_traceback(workers, tmp_path, capsys):
    game = PettingZoo("foreign_worlds:Frail", {"file": str(tmp_path / "lost"), "after": 0, "times": 9}, workers=workers)
    turn = game.reset(torch.tensor([0, 1]))
    with pytest.raises(Halted, match=r"Frail raised LookupError: a shoe is lost in the mud$"):
        game.step(random_actions(game, turn, 0))
    text = capsys.readouterr().err
    assert text.count("a shoe is lost") == 2  # the line of code, and the message
    assert text.count("Traceback") == 1
    assert "foreign_worlds.py" in text
    assert "copies.py" not in text


def test_the_check_of_a_game_says_what_its_environment_raised(tmp_path, capsys):
    game = PettingZoo("foreign_worlds:Frail", {"file": str(tmp_path / "lost"), "times": 9}, workers=0)
    with pytest.raises(
        Refused, match=r"^the environment foreign_worlds:Frail raised LookupError: a shoe is lost in the mud$"
    ):
        list(check_game(game))
    assert capsys.readouterr().err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("name", "raised", "line"),
    [
        ("foreign_worlds:miscount", "TypeError: object of type 'int' has no len()", "return Relay(limit=len(3))"),
        ("foreign_worlds:forget", "KeyError: 'limit'", 'return Relay(limit={}["limit"])'),
        ("foreign_worlds:need", "RuntimeError: there is no display", 'raise RuntimeError("there is no display")'),
        ("foreign_worlds:Shapeless", "RuntimeError: nothing to see", 'raise RuntimeError("nothing to see")'),
    ],
)
def test_an_exception_of_a_users_function_is_shown_with_its_own_traceback(name, raised, line, capsys):
    with pytest.raises(Refused) as refused:
        PettingZoo(name, workers=0)
    assert str(refused.value) == f"the environment {name} raised {raised}"
    text = capsys.readouterr().err
    assert text.splitlines()[-1] == raised
    assert line in text
    assert text.count("File") == text.count("foreign_worlds.py") == 1  # no line of the engine


def test_an_exception_in_a_users_module_is_shown_with_its_own_traceback(tmp_path, monkeypatch, capsys):
    (tmp_path / "half_written.py").write_text("Relay = unknown\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refused, match=r"the environment half_written:Relay raised NameError: name 'unknown'"):
        PettingZoo("half_written:Relay", workers=0)
    text = capsys.readouterr().err
    assert text.count("File") == text.count("half_written.py") == 1
