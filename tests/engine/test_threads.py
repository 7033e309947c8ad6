"""The number of threads: given, from the environment, or the number of free cores, in this order."""

import json
import os
import threading
from math import inf

import pytest
import torch
from command_runs import SMALL, marl_train
from omegaconf import OmegaConf

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics import threads
from marl_engine.numerics.threads import choose_threads, count_cores, count_free_cores, read_quota, run_concurrently


@pytest.fixture
def machine(monkeypatch):
    """Sets the number of cores, those that the process may use, its quota and the load."""

    def setting(cores=8, usable=8, quota=inf, load=0.0):
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(usable)), raising=False)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
        monkeypatch.setattr(threads, "read_quota", lambda: quota)
        for count in (count_cores, count_free_cores):
            count.cache_clear()

    yield setting
    for count in (count_cores, count_free_cores):
        count.cache_clear()


@pytest.mark.parametrize(
    ("settings", "free"),
    [
        ({}, 8),
        ({"load": 2.6}, 5),
        ({"load": 30.0}, 1),
        ({"usable": 2}, 2),
        ({"usable": 2, "load": 4.0}, 2),  # of the other six cores four are busy
        ({"cores": 2, "usable": 2, "load": 1.0}, 1),
        ({"quota": 3.5}, 3),
        ({"quota": 0.5}, 1),
    ],
)
def test_free_cores_are_allowed_and_idle(machine, settings, free):
    machine(**settings)
    assert count_free_cores() == free


def test_the_option_precedes_the_environment_and_that_the_free_cores(machine, monkeypatch):
    machine(load=2.0)
    for text, number in (("3", 3), ("4,2", 4), ("", 6), ("many", 6), ("0", 6), (None, 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", text) if text is not None else monkeypatch.delenv("OMP_NUM_THREADS")
        assert choose_threads(None) == number
        assert choose_threads(5) == 5


@pytest.mark.parametrize(
    ("memberships", "files", "share"),
    [
        ("0::/job/step\n", {"job/cpu.max": "max 100000\n"}, inf),
        ("0::/job/step\n", {"job/cpu.max": "150000 100000\n", "job/step/cpu.max": "400000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2.0),
        ("4:memory:/x\n3:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_quota_us": "-1"}, inf),
        ("3:cpu:/job\n", {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 2.5),
        ("", {}, inf),
    ],
)
def test_a_quota_is_the_least_of_a_control_group_and_those_above_it(tmp_path, memberships, files, share):
    (tmp_path / "cgroup").write_text(memberships)
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_quota(tmp_path / "tree", tmp_path / "cgroup") == share
    assert read_quota(tmp_path / "tree", tmp_path / "no") == inf


def test_language_models_use_all_free_cores_and_small_networks_one():
    language = compose_config("train", ["game=preference/sentiment", "solver=nash_md", "policy=language"])
    assert (language["threads"], compose_config("train", ["game=overcooked"])["threads"]) == (None, 1)


def test_a_run_says_and_keeps_how_many_threads_it_took(tmp_path, monkeypatch):
    """A resumed run uses as many, and so gives the same result bit for bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    small = [each for each in SMALL if not each.startswith("threads")]
    try:
        for key, count in (("threads=null", 2), ("threads=1", 1)):
            done = marl_train(tmp_path, *small, key, f"run=of_{count}", "iterations=1")
            assert done.code == 0, done
            first = done.out.splitlines()[0]
            assert ("· 2 threads" in first) == (count == 2) != first.endswith(f"seed 0, in runs/of_{count}")
            assert OmegaConf.load(tmp_path / f"runs/of_{count}/config.yaml").threads == count == torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert "· 2 threads" in marl_train(tmp_path, "resume=runs/of_2", "iterations=2").out
        assert json.loads((tmp_path / "runs/of_2/summary.json").read_text())["iterations"] == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("usable", [1, 2])
def test_jobs_share_the_threads_of_torch_and_one_core_runs_them_in_turn(machine, usable):
    machine(usable=usable)
    torch.set_num_threads(4)
    try:
        jobs = [lambda: (torch.get_num_threads(), threading.current_thread() is threading.main_thread())] * 2
        assert run_concurrently(*jobs) == [(2, True), (2, usable == 1)]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)
