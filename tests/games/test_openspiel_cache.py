"""The cache of compiled games is keyed by all that they depend on; problems with it cost a warning."""

import json
from types import ModuleType

import numpy as np
import pyspiel
import pytest
from open_spiel.python.games.kuhn_poker import KuhnPokerGame, KuhnPokerState

from games.openspiel import load as memory
from games.openspiel.game import OpenSpiel
from games.openspiel.identity import game_identity
from games.openspiel.load import CODE, compile_game
from marl_engine.commands.train import main
from marl_engine.extensive_form.sequence_form import expected_payoffs, nash_conv, realization_plan, uniform_strategy

PENNIES = """EFG 2 R "pennies" { "A" "B" }
p "" 1 1 "" { "H" "T" } 0
p "" 2 1 "" { "h" "t" } 0
t "" 1 "" { FIRST }
t "" 2 "" { -1, 1 }
p "" 2 1 "" { "h" "t" } 0
t "" 3 "" { -1, 1 }
t "" 4 "" { 1, -1 }
"""
FIRST, EDITED = PENNIES.replace("FIRST", "1, -1"), PENNIES.replace("FIRST", "3, -3")
NFG = 'NFG 1 R "" { "A" "B" } { 2 2 } 1 -1 -1 1 -1 1 1 -1\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Uses an empty cache; returns a function that compiles as in a new process."""
    monkeypatch.setenv("MARL_ENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memory, "IN_MEMORY", {})
    return tmp_path / "cache"


def uniform_value(name):
    """Returns the first player's payoff under uniform play."""
    form = OpenSpiel(name).form
    return expected_payoffs(form, realization_plan(form, uniform_strategy(form)))[0]


@pytest.mark.parametrize("process", ["the same", "a new one"])
@pytest.mark.parametrize(
    ("name", "file", "before", "after", "values"),
    [
        ("efg_game(filename={})", "p.efg", FIRST, EDITED, (0, 1 / 2)),
        ("{}", "p.efg", FIRST, EDITED, (0, 1 / 2)),
        ("zerosum(game=efg_game(filename={}))", "p.efg", FIRST, EDITED, (0, 1 / 2)),
        ("nfg_game(filename={})", "p.nfg", NFG, NFG.replace("} 1 -1", "} 3 -3"), (0, 1 / 2)),
    ],
)
def test_a_file_that_was_edited_is_another_game(
    cache, tmp_path, monkeypatch, process, name, file, before, after, values
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(before)
    results = [uniform_value(name.format(file))]
    (tmp_path / file).write_text(after)
    if process == "a new one":
        memory.IN_MEMORY.clear()
    results.append(uniform_value(name.format(file)))
    assert results == pytest.approx(values)


def test_relative_file_names_refer_to_the_working_directory(cache, tmp_path, monkeypatch):
    results = []
    for folder, text in (("one", FIRST), ("other", EDITED)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.efg").write_text(text)
        monkeypatch.chdir(tmp_path / folder)
        results.append(uniform_value("efg_game(filename=p.efg)"))
    assert results == pytest.approx([0, 1 / 2])


def test_the_command_solves_the_current_version_of_a_file(cache, tmp_path, monkeypatch):
    """Matching pennies has value 0; if heads pays 3 instead of 1, (3 - 1) / (3 + 1 + 1 + 1) = 1/3."""
    monkeypatch.chdir(tmp_path)
    results = []
    for run, text in (("one", FIRST), ("other", EDITED)):
        (tmp_path / "p.efg").write_text(text)
        words = ["game=openspiel", "game.name=p.efg", "solver=normal_form", "iterations=1", f"run={run}"]
        monkeypatch.setattr("sys.argv", ["marl-train", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        results.append(json.loads((tmp_path / "runs" / run / "summary.json").read_text())["return/0"])
    assert results == pytest.approx([0, 1 / 3])


def test_parameters_of_nested_games_count(cache):
    """By NashConv of uniform play, compared with pyspiel's."""
    for p in (0.1, 0.9):
        name = f"restricted_nash_response(game=kuhn_poker(),fixed_player=0,p={p})"
        form = OpenSpiel(name).form
        reference = pyspiel.nash_conv(pyspiel.load_game(name), pyspiel.UniformRandomPolicy(pyspiel.load_game(name)))
        assert nash_conv(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(reference)
    for values in (2, 3):
        name = f"first_sealed_auction(max_value={values})"
        assert uniform_value(f"normal_form_extensive_game(game={name})") == pytest.approx(uniform_value(name))


def test_parameters_that_are_left_out_have_their_defaults():
    assert (
        game_identity("kuhn_poker", CODE)
        == game_identity("kuhn_poker()", CODE)
        == game_identity("kuhn_poker(players=2)", CODE)
    )
    assert game_identity("kuhn_poker", CODE) != game_identity("kuhn_poker(players=3)", CODE)


def test_the_library_and_our_code_count(tmp_path, monkeypatch):
    module, other = ModuleType("mine"), ModuleType("mine")
    module.__file__, other.__file__ = str(tmp_path / "one.py"), str(tmp_path / "two.py")
    (tmp_path / "one.py").write_text("1")
    (tmp_path / "two.py").write_text("2")
    before = game_identity("kuhn_poker", [module])
    assert before != game_identity("kuhn_poker", [other])
    monkeypatch.setattr("games.openspiel.identity.version", lambda name: "0")
    assert before != game_identity("kuhn_poker", [module])


STAKES = {"factor": 1.0}
SAME = (  # of the types of two games
    *("dynamics", "chance_mode", "information", "utility", "reward_model", "max_num_players", "min_num_players"),
    *("provides_information_state_string", "provides_information_state_tensor", "provides_observation_string"),
    *("provides_observation_tensor", "parameter_specification"),
)


class Stakes(KuhnPokerState):
    """Kuhn poker with other stakes."""

    def returns(self):
        return [STAKES["factor"] * each for each in super().returns()]


class KuhnForStakes(KuhnPokerGame):
    """The same as a game in Python, whose code changes."""

    def new_initial_state(self):
        return Stakes(self)


def test_a_game_in_python_is_never_answered_from_memory(cache):
    kind = next(each for each in pyspiel.registered_games() if each.short_name == "python_kuhn_poker")
    originals = {name: getattr(kind, name) for name in SAME}
    own = pyspiel.GameType(short_name="python_kuhn_for_stakes", long_name="Kuhn poker for stakes", **originals)
    pyspiel.register_game(own, KuhnForStakes)
    results = []
    for factor in (1.0, 3.0):
        STAKES["factor"] = factor
        results.append(uniform_value("python_kuhn_for_stakes"))
    assert results == pytest.approx([1 / 8, 3 / 8])
    assert not cache.exists()


def test_games_of_openspiel_in_python():
    """They are known after an import, also as nested games."""
    assert uniform_value("python_kuhn_poker") == pytest.approx(uniform_value("kuhn_poker"))
    assert uniform_value("misere(game=python_kuhn_poker())") == pytest.approx(-uniform_value("kuhn_poker"))


@pytest.mark.parametrize(
    "name", ["tic_tac_toe", "kuhn_poker", "repeated_game(stage_game=matrix_pd(),num_repetitions=2)"]
)
def test_cpp_games_are_cached_even_with_a_python_class(name):
    assert game_identity(name, CODE) is not None


def test_compiled_games_are_cached_on_disk(cache):
    fresh = compile_game("kuhn_poker")
    memory.IN_MEMORY.clear()
    originals = compile_game("kuhn_poker")
    assert len(list(cache.iterdir())) == 1
    for first, second in zip(fresh, originals, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", bytes.swapcase])
def test_a_damaged_file_costs_a_warning(cache, capsys, damage):
    fresh = compile_game("kuhn_poker")
    (path,) = cache.iterdir()
    full = path.read_bytes()
    path.write_bytes(damage(full))
    memory.IN_MEMORY.clear()
    again = compile_game("kuhn_poker")
    messages = capsys.readouterr().err.strip().splitlines()
    assert len(messages) == 1
    assert "compiled anew, for what was kept of it cannot be read" in messages[0]
    assert np.array_equal(fresh[1].payoff, again[1].payoff)
    memory.IN_MEMORY.clear()
    compile_game("kuhn_poker")
    assert capsys.readouterr().err == ""  # it was replaced by a whole one


def test_a_folder_that_cannot_be_written_costs_a_warning(cache, capsys):
    cache.write_text("a file")
    assert uniform_value("kuhn_poker") == pytest.approx(1 / 8)
    messages = capsys.readouterr().err.strip().splitlines()
    assert len(messages) == 1
    assert "cannot be kept for the next time" in messages[0]
    assert "MARL_ENGINE_CACHE names another folder" in messages[0]
