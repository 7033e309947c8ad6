"""Saved strategies have the game's names and the numbers of theory."""

import json

import numpy as np
import pytest
from command_runs import marl_train

from games.normal_form.games import MatrixGame, PreferenceFile, RandomGame
from games.openspiel.game import OpenSpiel
from marl_engine.evaluation import strategies
from marl_engine.evaluation.strategies import lines_of, read_strategies
from marl_engine.policies.tabular import TabularSpec, fill_tables

PENNIES = """EFG 2 R "pennies" { "A" "B" } ""
p "" 1 1 "first" { "Tail" "Head" } 0
p "" 2 1 "" { "Head" "say \\"t\\"" } 0
t "" 1 "" { -1, 1 }
t "" 2 "" { 1, -1 }
p "" 2 1 "" { "Head" "say \\"t\\"" } 0
t "" 3 "" { 1, -1 }
t "" 4 "" { -1, 1 }
"""


def profile_of(game, *choices):
    """Returns tables with given probabilities, seat by seat."""
    profile = TabularSpec().profile(game)
    fill_tables(profile, np.array([*[1.0] * game.players, *choices]))
    return profile


def test_gains_equal_those_of_best_responses():
    """Both play rock and paper with probability 1/2: scissors earns 0, paper 1/2, and both earn 0."""
    game = MatrixGame("rock_paper_scissors")
    result = read_strategies(game, profile_of(game, 0.5, 0.5, 0.0, 0.5, 0.5, 0.0))
    assert result.players == [{"return": 0.0, "gain": 0.5}] * 2
    assert result.information_sets[1]["strategy"] == [0.5, 0.5, 0.0]
    assert lines_of(result) == [
        "player 0 earns 0.0000; a best response gains 0.5",
        "  rock 0.500   paper 0.500   scissors 0.000",
        "player 1 earns 0.0000; a best response gains 0.5",
        "  rock 0.500   paper 0.500   scissors 0.000",
    ]


def test_names_and_reaches_of_kuhn_poker_are_openspiels():
    """Under uniform play, player 0 holds a 2, has passed and faces a bet with probability 1/3 * 1/2 * 1/2."""
    game = OpenSpiel("kuhn_poker")
    results = {each["name"]: each for each in read_strategies(game, TabularSpec().profile(game)).information_sets}
    assert set(results) == {f"{card}{past}" for card in "012" for past in ("", "p", "b", "pb")}
    assert all(each["actions"] == ["Pass", "Bet"] for each in results.values())
    assert results["2pb"]["reach"] == pytest.approx(1 / 12)
    assert results["2pb"]["player"] == 0


@pytest.mark.parametrize("name", ["leduc_poker", "tiny_hanabi", "goofspiel(num_cards=3,points_order=descending)"])
def test_actions_have_openspiels_names_in_every_information_set(name):
    """Compared by walking through OpenSpiel's own states."""
    from games.openspiel.load import load_sequential

    game, waiting, expected = OpenSpiel(name), [load_sequential(name).new_initial_state()], {}
    while waiting:
        state = waiting.pop()
        if not (state.is_terminal() or state.is_chance_node()):
            mover = state.current_player()
            names = [state.action_to_string(mover, action) for action in state.legal_actions()]
            expected[mover, state.information_state_string(mover)] = names
        waiting += [state.child(action) for action in state.legal_actions()]
    owners = np.repeat(np.arange(game.players), np.diff(game.form.begin)).tolist()
    results = {(owner, name): names for owner, (name, names) in zip(owners, game.information_sets(), strict=True)}
    assert results == expected


def test_actions_of_an_efg_file_have_its_names(tmp_path):
    (tmp_path / "pennies.efg").write_text(PENNIES)
    names = [actions for _, actions in OpenSpiel(str(tmp_path / "pennies.efg")).information_sets()]
    assert names == [["Tail", "Head"], ["Head", 'say "t"']]


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("both.csv", "row,left,right,none\nup,1,-1,0\ndown,-1,1,0\n", [["up", "down"], ["left", "right", "none"]]),
        ("header.csv", "left;right\n1;-1\n-1;1\n", [["0", "1"], ["left", "right"]]),
        ("rows.csv", "up,1,-1\ndown,-1,1\n", [["up", "down"], ["0", "1"]]),
        ("bare.csv", "1,-1\n-1,1\n", [["0", "1"]] * 2),
        (
            "named.nfg",
            'NFG 1 R "" { "A" "B" } { { "up" "down" } { "l" "r" } }\n1 1 0 3 3 0 2 2',
            [["up", "down"], ["l", "r"]],
        ),
        ("counted.nfg", 'NFG 1 R "" { "A" "B" } { 2 2 }\n1 1 0 3 3 0 2 2', [["0", "1"]] * 2),
    ],
)
def test_actions_of_a_matrix_have_the_names_of_its_file(tmp_path, name, text, names):
    (tmp_path / name).write_text(text)
    assert [actions for _, actions in MatrixGame(payoffs=str(tmp_path / name)).information_sets()] == names


def test_answers_of_a_preference_file_have_its_names(tmp_path):
    (tmp_path / "tea.csv").write_text("tea,coffee\n0.5,0.7\n0.3,0.5\n")
    game = PreferenceFile(payoffs=str(tmp_path / "tea.csv"))
    assert game.information_sets() == [("", ["tea", "coffee"])] * 2


def test_only_the_most_probable_of_many_actions_are_shown():
    game = RandomGame(actions=12)
    first = [0.2, 0.01, 0.11, *[0.08] * 7, 0.06, 0.06]
    _, line, *_ = lines_of(read_strategies(game, profile_of(game, *first, *[1 / 12] * 12)))
    assert line == ("  0 0.200   2 0.110   3 0.080   4 0.080   5 0.080   6 0.080   7 0.080   8 0.080   4 others 0.210")


def test_a_run_leaves_its_strategies(tmp_path, monkeypatch):
    keys = ("game=matrix", "game.name=prisoners_dilemma", "solver=normal_form", "run=dilemma")
    run = marl_train(tmp_path, *keys)
    assert run.code == 0, run.err
    assert "  cooperate 0.000   defect 1.000\n" in run.out
    content = json.loads((tmp_path / "runs/dilemma/strategy.json").read_text())
    summary = json.loads((tmp_path / "runs/dilemma/summary.json").read_text())
    assert content["iteration"] == summary["iterations"]
    assert content["players"] == [{"return": -2.0, "gain": 0.0}] * 2
    assert [each["strategy"] for each in content["information_sets"]] == [[0.0, 1.0]] * 2
    assert (summary["gain/0"], summary["gain/1"]) == (0.0, 0.0)
    monkeypatch.setattr(strategies, "MAX_SAVED_ACTIONS", 3)
    repetition = marl_train(tmp_path, *keys, "overwrite=true")
    assert "there is no strategy.json: the strategies have more than 3 actions" in repetition.out
    assert not (tmp_path / "runs/dilemma/strategy.json").exists()
