"""A run keeps copies of its input files, and uses them whatever happens to the originals."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import SMALL, assert_same_run, contents, cut, marl_train

from games.control.gymnasium import Control
from games.normal_form.games import MatrixGame, PreferenceFile
from games.normal_form.repeated import RepeatedGame
from games.openspiel.game import OpenSpiel
from games.overcooked import Overcooked
from games.preference.game import PromptGame
from games.preference.judges.learned import LearnedJudge
from games.preference.judges.llm_endpoint import LLMJudge
from marl_engine.errors import Refused
from marl_engine.numerics.state import get_state, set_state
from marl_engine.numerics.state_checks import check_like
from marl_engine.policies.language.transformer import TransformerSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.runs import inputs
from marl_engine.runs.factory import load_components
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import list_inputs, localise
from solvers.best_response import BestResponse
from solvers.cfr.cfr import CFR
from solvers.cfr.mccfr import MCCFR
from solvers.preference.dno import DNO

KITCHEN, OTHER = "XXPXX\nO1 2O\nX   X\nXDXSX\n", "XXPPX\nO1 2O\nX   X\nXDXSX\n"
COOKS = (*SMALL, "game.layout=kitchen.txt", "run=x", "save_every=1")
SOLVED = ("game=matrix", "solver=cfr_plus", "game.payoffs=mine/game.csv", "run=x", "evaluate_every=1")
DECLARED = {
    (Overcooked, "layout"),
    *(
        (MatrixGame, "name"),
        (MatrixGame, "payoffs"),
        (MatrixGame, "column_payoffs"),
        (RepeatedGame, "name"),
        (RepeatedGame, "payoffs"),
        (PreferenceFile, "payoffs"),
    ),
    *(
        (LLMJudge, "template"),
        (OpenSpiel, "name"),
        (PromptGame, "prompts"),
        (LearnedJudge, "folder"),
        (TransformerSpec, "model"),
        (TransformerSpec, "adapter"),
    ),
    *((BestResponse, "opponent"), (DNO, "teacher")),
}


def edit(path):
    path.write_text(OTHER if path.suffix == ".txt" else "9,9\n0,0\n")


def remove(path):
    path.unlink()


def move(path):
    path.rename(path.with_name("elsewhere"))


@pytest.fixture
def kitchen(tmp_path):
    """The layout file of a run of two iterations in tmp_path/runs/x."""
    (tmp_path / "kitchen.txt").write_text(KITCHEN)
    assert marl_train(tmp_path, *COOKS, "iterations=2").code == 0
    return tmp_path / "kitchen.txt"


@pytest.mark.parametrize(("fate", "words"), [(edit, "has changed"), (remove, "is gone"), (move, "is gone")])
def test_kitchens_keep_their_recorded_digests(kitchen, tmp_path, fate, words):
    undisturbed = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_undisturbed"))
    assert marl_train(undisturbed, "resume=runs/x", "iterations=4").code == 0
    fate(kitchen)
    done = marl_train(tmp_path, "resume=runs/x", "iterations=4")
    assert (done.code, done.err) == (0, "")
    (sentence,) = [line for line in done.out.splitlines() if "kitchen.txt" in line and "game.layout: " in line]
    assert sentence.startswith(f"game.layout: {kitchen} {words}, and this run has what it was in runs/x/inputs/")
    assert_same_run(undisturbed / "runs" / "x", tmp_path / "runs" / "x", 4)


def test_what_has_not_changed_is_not_talked_about(kitchen, tmp_path):
    assert "game.layout: " not in marl_train(tmp_path, "resume=runs/x", "iterations=3").out


def test_a_run_may_be_moved(kitchen, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "y"
    elsewhere.parent.mkdir()
    (tmp_path / "runs" / "x").rename(elsewhere)
    kitchen.unlink()
    assert load_components(RunFolder(elsewhere)).game.kitchen.pots.size == 1
    assert marl_train(tmp_path, "resume=elsewhere/y", "iterations=3").code == 0
    assert marl_train(elsewhere, "resume=.", "iterations=4").code == 0


def test_payoffs_keep_their_recorded_values(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "game.csv").write_text("1,-1\n-1,1\n")
    assert marl_train(tmp_path, *SOLVED, "iterations=3").code == 0
    edit(tmp_path / "mine" / "game.csv")
    assert marl_train(tmp_path, "resume=runs/x", "iterations=6").code == 0
    assert RunFolder(tmp_path / "runs" / "x").summary()["nash_conv"] == pytest.approx(0, abs=1e-12)
    shutil.rmtree(tmp_path / "mine")
    assert marl_train(tmp_path, "resume=runs/x", "iterations=9").code == 0
    assert np.array_equal(load_components(RunFolder(tmp_path / "runs" / "x")).game.earns[0], [[1, -1], [-1, 1]])


def test_a_run_is_refused_if_both_an_input_and_its_copy_changed(kitchen, tmp_path):
    copy = tmp_path / "runs" / "x" / "inputs" / "game.layout" / "kitchen.txt"
    copy.write_text(OTHER)
    done = marl_train(tmp_path, "resume=runs/x", "iterations=3")
    assert (done.code, done.err) == (0, ""), "the original is still there"
    edit(kitchen)
    before = contents(tmp_path)
    done = marl_train(tmp_path, "resume=runs/x", "iterations=4")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert f"game.layout: {kitchen} is not what runs/x began with" in done.err
    assert contents(tmp_path) == before


def test_large_inputs_are_read_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "LARGEST", len(KITCHEN) - 1)
    (tmp_path / "kitchen.txt").write_text(KITCHEN)
    assert marl_train(tmp_path, *COOKS, "iterations=1").code == 0
    assert [path.name for path in (tmp_path / "runs" / "x" / "inputs").iterdir()] == ["inputs.json"]
    assert marl_train(tmp_path, "resume=runs/x", "iterations=2").code == 0
    edit(tmp_path / "kitchen.txt")
    assert marl_train(tmp_path, "resume=runs/x", "iterations=3").code == 2


def test_a_sweep_knows_that_a_file_has_changed(tmp_path):
    (tmp_path / "kitchen.txt").write_text(KITCHEN)
    sweep = "-m", *SMALL, "game.layout=kitchen.txt", "iterations=1", "seed=0,1"
    assert marl_train(tmp_path, *sweep).code == 0
    assert marl_train(tmp_path, *sweep).out.count(": is done, in runs/") == 2
    edit(tmp_path / "kitchen.txt")
    assert "is done" not in marl_train(tmp_path, *sweep).out
    assert len(list((tmp_path / "runs").iterdir())) == 4


def test_the_newest_intact_checkpoint_of_an_opponent_is_kept(tmp_path):
    tables = "game=matrix", "policy=table", "responder=exact", "evaluate_every=9"
    assert marl_train(tmp_path, *tables, "solver=mmd", "run=other", "iterations=4", "save_every=1").code == 0
    cut(tmp_path / "runs" / "other" / "checkpoints" / "00000004" / "tensors.safetensors")
    reply = (*tables, "solver=best_response", "solver.opponent=runs/other", "run=x", "iterations=2")
    assert marl_train(tmp_path, *reply).code == 0
    (entry,) = json.loads((tmp_path / "runs" / "x" / "inputs" / "inputs.json").read_text())
    assert entry["copy"] == "solver.opponent/other"
    copy = tmp_path / "runs" / "x" / "inputs" / entry["copy"]
    assert [path.name for path in copy.iterdir()] == ["checkpoints"]
    assert [path.name for path in (copy / "checkpoints").iterdir()] == ["00000003"]
    shutil.rmtree(tmp_path / "runs" / "other")
    assert marl_train(tmp_path, "resume=runs/x", "iterations=4").code == 0


def test_files_in_the_names_of_games(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.efg", "b.efg"):
        (tmp_path / name).write_text(name)
    target = {"_target_": "games.openspiel.OpenSpiel"}
    for name in ("efg_game(filename=a.efg)", "turn_based_simultaneous_game(game=nfg_game(filename=a.efg))", "a.efg"):
        config = {"game": {**target, "name": name}, "seed": 0}
        entries = list_inputs(config)
        assert [each[:3] for each in entries] == [("game.name", "a.efg", str(tmp_path / "a.efg"))]
        inputs.copy_inputs(entries, tmp_path / "run")
        local, notes = localise(config, tmp_path / "run")
        assert local["game"]["name"] == name.replace("a.efg", str(tmp_path / "run/inputs/game.name/a.efg"))
        assert (local["seed"], notes) == (0, [])
        shutil.rmtree(tmp_path / "run")
    for name in ("kuhn_poker", "kuhn_poker(players=3)", "efg_game(filename=missing.efg)"):
        assert list_inputs({"game": {**target, "name": name}}) == []


def test_a_list_of_files_and_files_of_a_judge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").mkdir()
    for path in ("row.csv", "other/row.csv", "heads/heads.safetensors"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    config = {
        "game": {
            "_target_": "games.normal_form.MatrixGame",
            "payoffs": ["row.csv", "other/row.csv"],
            "judge": {"_target_": "games.preference.judges.LearnedJudge", "folder": "heads"},
        }
    }
    inputs.copy_inputs(list_inputs(config), tmp_path / "run")
    local, _ = localise(config, tmp_path / "run")
    paths = [*local["game"]["payoffs"], f"{local['game']['judge']['folder']}/heads.safetensors"]
    assert [Path(path).read_text() for path in paths] == ["row.csv", "other/row.csv", "heads/heads.safetensors"]
    assert "run" not in json.dumps(config)


def test_a_file_that_changes_while_the_run_begins_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitchen.txt").write_text(KITCHEN)
    entries = list_inputs({"game": {"_target_": "games.overcooked.Overcooked", "layout": "kitchen.txt"}})
    edit(tmp_path / "kitchen.txt")
    with pytest.raises(Refused, match=r"^game.layout: kitchen.txt was changed while the run began"):
        inputs.copy_inputs(entries, tmp_path / "run")


def test_fields_that_name_files_are_declared():
    declared = {(kind, each.name) for kind, _ in DECLARED for each in fields(kind) if "outside" in each.metadata}
    assert declared == DECLARED
    assert not [each for each in fields(Control) if "outside" in each.metadata]


@pytest.mark.parametrize(
    ("state", "fresh", "phrase"),
    [
        (torch.zeros(3), torch.zeros(2), "is float32 [3], and must be float32 [2]"),
        (torch.zeros(2, dtype=torch.float64), torch.zeros(2), "is float64 [2], and must be float32 [2]"),
        (torch.zeros(2, 1), torch.zeros(2), "is float32 [2, 1], and must be float32 [2]"),
        (None, torch.zeros(2), "is NoneType, and must be float32 [2]"),
        ({"a": 1}, {"a": 1, "b": 2}, "must have a, b, unlike b"),
        ({"a": 1, "c": 2}, {"a": 1}, "must have a, unlike c"),
        ([1], [1, 2], "must be a list of 2, not a list of 1"),
        ({"x": {"y": [torch.zeros(1)]}}, {"x": {"y": [torch.zeros(2)]}}, "place/x/y/0 is float32 [1]"),
    ],
)
def test_what_is_not_like_a_fresh_state_is_refused(state, fresh, phrase):
    with pytest.raises(ValueError, match=re.escape(phrase)):
        check_like(state, fresh, "place")


@pytest.mark.parametrize(
    ("state", "fresh"),
    [
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(3, 7, 2), torch.zeros(3, 0, 2)),
        ({"7": [1, 2]}, {}),
        ([1, 2], []),
        ({"a": [1]}, {"a": None}),
        ({"7": 1}, {7: 2}),
    ],
)
def test_what_was_empty_may_have_grown(state, fresh):
    check_like(state, fresh, "place")


@pytest.mark.parametrize("part", ["game.layout=other.txt", "policy.hidden=[9]", "responder.num_envs=5"])
def test_checkpoints_of_another_run_are_refused(kitchen, tmp_path, part):
    """Before compiled code uses them: one more pot makes rows longer."""
    (tmp_path / "other.txt").write_text(OTHER)
    assert marl_train(tmp_path, *COOKS, "iterations=2", part, "run=other").code == 0
    shutil.rmtree(tmp_path / "runs" / "x" / "checkpoints")
    shutil.copytree(tmp_path / "runs" / "other" / "checkpoints", tmp_path / "runs" / "x" / "checkpoints")
    done = marl_train(tmp_path, "resume=runs/x", "iterations=3")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "the checkpoints in runs/x do not fit its config.yaml: " in done.err
    assert " must be " in done.err


@pytest.mark.parametrize("solver", [CFR, MCCFR])
def test_regrets_of_another_game_are_refused(solver):
    """Compiled code would read beyond the end of arrays."""
    states = []
    for name in ("kuhn_poker", "leduc_poker"):
        game, network = OpenSpiel(name), TabularSpec()
        profile, learning = network.profile(game), solver()
        if states:
            set_state(learning, states[0])
        progress = learning.solve(profile, ExactResponder(game, network), after=len(states))
        if states:
            with pytest.raises(
                ValueError, match=r"^solver/[\w/]+ is float64 \[.*\d+\], and must be float64 \[.*\d+\]$"
            ):
                next(progress)
        else:
            next(progress)
            states.append(get_state(learning))


def test_a_run_does_not_replace_the_folder_of_its_own_opponent(tmp_path):
    tables = "game=matrix", "policy=table", "responder=exact", "run=x", "iterations=2"
    assert marl_train(tmp_path, *tables, "solver=mmd").code == 0
    before = contents(tmp_path / "runs" / "x")
    run = marl_train(tmp_path, *tables, "solver=best_response", "solver.opponent=runs/x", "overwrite=true")
    assert (run.code, run.out) == (2, "")
    assert run.err == "solver.opponent: runs/x is in runs/x, which overwrite=true would remove; choose another run=\n"
    assert contents(tmp_path / "runs" / "x") == before
