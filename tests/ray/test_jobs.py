"""Sweeps and tournaments in Ray's workers have the results of those in one process."""

import sys

import pytest
from command_runs import SMALL, assert_same_run, marl_train

from marl_engine.commands import tournament


def test_runs_of_a_sweep_are_those_of_a_single_process_and_are_not_repeated(tmp_path):
    keys = ("-m", *SMALL, "save_every=1", "run=of_${seed}", "runner=ray", "runner.workers=2")
    done = marl_train(tmp_path, *keys, "iterations=2", "seed=0,1")
    assert (done.code, done.err) == (0, "")
    assert sorted(line for line in done.out.splitlines() if line.startswith("job ")) == [
        "job 1 of 2, seed=0:",
        "job 2 of 2, seed=1:",
    ]
    for seed in (0, 1):
        assert marl_train(tmp_path, *SMALL, "iterations=2", "save_every=1", f"seed={seed}", f"run=l_{seed}").code == 0
        assert_same_run(tmp_path / f"runs/of_{seed}", tmp_path / f"runs/l_{seed}", 2)
    again = marl_train(tmp_path, *keys, "iterations=2", "seed=0,1")
    assert again.out.count(": is done, in runs/of_") == 2


def test_matches_of_a_tournament_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["random", "greedy", "lossy:always_north", "game=overcooked", "game.horizon=20", "games=8"]
    for name, keys in (("local", []), ("ray", ["runner=ray", "runner.workers=2"])):
        monkeypatch.setattr(sys, "argv", ["marl-tournament", *words, f"run={name}", *keys])
        with pytest.raises(SystemExit) as end:
            tournament.main()
        assert end.value.code == 0
    assert (tmp_path / "runs/ray/matches.csv").read_text() == (tmp_path / "runs/local/matches.csv").read_text()
