"""Run folders: a run that was stopped in any way continues exactly from its folder."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from command_runs import (
    SMALL,
    assert_same_checkpoint,
    assert_same_run,
    await_that,
    checkpoints,
    contents,
    cut,
    leaves,
    marl_train,
    start_command,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from games.overcooked import Overcooked
from marl_engine.commands.sweeps.grid import Job, is_done, run_job
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import KEEP, RunFolder, metric_column
from marl_engine.runs.run import Run

PARTS = {"config.yaml", "metrics.jsonl", "tensorboard", "checkpoints", "summary.json", "curve.png", "replay.gif"}
KILLS = 12
LONG = 150  # iterations of the run that is killed
PAUSE = 0.004  # seconds that its disk takes for a file, so that saves are as long as the rest


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    """The folder of an uninterrupted run of 8 iterations."""
    home = tmp_path_factory.mktemp("whole")
    done = marl_train(home, *SMALL, "run=x", "save_every=1", "iterations=8")
    assert (done.code, done.err) == (0, "")
    return home / "runs" / "x"


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """The folder of the same run, ended after 6 iterations."""
    home = tmp_path_factory.mktemp("six")
    assert marl_train(home, *SMALL, "run=x", "save_every=1", "iterations=6").code == 0
    return home / "runs" / "x"


@pytest.fixture
def copy(short_run, tmp_path):
    """A copy of the short run that a test may damage."""
    return shutil.copytree(short_run, tmp_path / "runs" / "x")


@pytest.fixture
def count_returns(monkeypatch):
    """Rewards are numbers of actions, so that untrained policies have different returns."""
    step = Overcooked.step

    def paying(game, actions):
        turn = step(game, actions)
        return turn._replace(reward=turn.reward + actions)

    monkeypatch.setattr(Overcooked, "step", paying)


def test_parts(full_run):
    assert {path.name for path in full_run.iterdir()} == PARTS
    records = [json.loads(line) for line in (full_run / "metrics.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == list(range(1, 9))
    assert [record["steps"] for record in records] == [32 * iteration for iteration in range(1, 9)]
    for record in records:
        assert list(record)[:3] == ["iteration", "steps", "seconds"]
        assert ("evaluation/return/mean" in record) == (record["iteration"] % 2 == 0)
    summary = json.loads((full_run / "summary.json").read_text())
    assert (summary["exit"], summary["iterations"], summary["steps"]) == ("iterations", 8, 256)
    assert {"return/mean", "return/greedy/mean", "return/swapped/mean", "best", "versions"} <= summary.keys()
    assert (full_run / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert (full_run / "replay.gif").read_bytes()[:6] == b"GIF89a"
    best = summary["best"]["iteration"]
    assert set(checkpoints(full_run)) == {8, 7, 6, best}
    assert len(checkpoints(full_run)) <= KEEP + 1


def test_checkpoints_hold_no_pickles(full_run):
    for path in checkpoint.newest_first(full_run / "checkpoints"):
        assert {file.name for file in path.iterdir()} == {"tensors.safetensors", "state.json", "manifest.json"}
        for name in ("state.json", "manifest.json"):
            json.loads((path / name).read_text())
        content = (path / "tensors.safetensors").read_bytes()
        header = int.from_bytes(content[:8], "little")
        assert len(json.loads(content[8 : 8 + header])) >= 12


@pytest.mark.parametrize(
    "choices",
    [(), ("policy.shared=false", "responder.shaping=1.0"), ("responder=mappo", "responder.value_loss=clipped")],
    ids=["shared", "separate", "mappo"],
)
def test_two_halves_are_a_whole(tmp_path, count_returns, choices):
    assert marl_train(tmp_path, *SMALL, *choices, "run=whole", "iterations=5").code == 0
    assert marl_train(tmp_path, *SMALL, *choices, "run=halves", "iterations=2").code == 0
    assert checkpoints(tmp_path / "runs" / "halves") == [2]
    done = marl_train(tmp_path, "resume=runs/halves", "iterations=5")
    assert (done.code, done.err) == (0, "")
    assert_same_run(tmp_path / "runs" / "whole", tmp_path / "runs" / "halves", 5)
    _, returns = metric_column(RunFolder(tmp_path / "runs" / "whole").records(), "return/mean")
    assert len(set(returns)) > 1, "the games say nothing"
    clock = {"seconds": 0, "started": 0}
    first, second = (json.loads((tmp_path / "runs" / run / "summary.json").read_text()) for run in ("whole", "halves"))
    assert first | clock == second | clock


def test_seconds_go_on(short_run, copy):
    marl_train(copy.parent.parent, "resume=runs/x", "iterations=7")
    seconds = [record["seconds"] for record in RunFolder(copy).records()]
    assert seconds == sorted(seconds)
    assert seconds[:6] == [record["seconds"] for record in RunFolder(short_run).records()]


def test_seed_matters(tmp_path, full_run):
    assert marl_train(tmp_path, *SMALL, "run=x", "save_every=1", "iterations=6", "seed=1").code == 0
    with pytest.raises(AssertionError):
        assert_same_checkpoint(tmp_path / "runs" / "x", full_run, 6)


@pytest.mark.parametrize(
    ("limit", "reason"), [("steps=40", "steps"), ("iterations=1", "iterations"), ("stop.seconds=1e-6", "seconds")]
)
def test_what_ends_a_run(tmp_path, limit, reason):
    assert marl_train(tmp_path, *SMALL, "run=x", limit).code == 0
    summary = json.loads((tmp_path / "runs" / "x" / "summary.json").read_text())
    assert summary["exit"] == reason
    assert summary["steps"] == {"steps": 64, "iterations": 32, "seconds": 0}[reason]


def test_sweep(tmp_path):
    assert marl_train(tmp_path, "-m", *SMALL, "iterations=1", "seed=0,1", "run=of_${seed}").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    for seed in (0, 1):
        assert RunFolder(tmp_path / "runs" / f"of_{seed}").config()["seed"] == seed


SWEEP = ("-m", *SMALL, "iterations=6", "save_every=2", "responder.learning_rate=1e-3,1e+38,2e-3")


def test_a_sweep_outlives_a_bad_job_and_goes_on_with_what_is_missing(tmp_path):
    first = marl_train(tmp_path, *SWEEP)
    assert (first.code, first.err) == (1, "1 of 3 jobs failed: responder.learning_rate=1e+38\n")
    runs = {RunFolder(path).config()["responder"]["learning_rate"]: path for path in (tmp_path / "runs").iterdir()}
    assert [len(RunFolder(runs[rate]).records()) for rate in (1e-3, 1e38, 2e-3)] == [6, 0, 6]
    before = {rate: contents(path) for rate, path in runs.items()}
    repetition = marl_train(tmp_path, *SWEEP)
    assert (repetition.code, repetition.err) == (1, first.err)
    assert repetition.out.count(": is done, in runs/") == 2
    assert "has no checkpoint yet; going on from iteration 0" in repetition.out
    assert sorted((tmp_path / "runs").iterdir()) == sorted(runs.values())
    assert [contents(runs[rate]) == before[rate] for rate in (1e-3, 2e-3)] == [True, True]


@pytest.mark.parametrize(
    ("summary", "limits", "done"),
    [
        ({}, {"iterations": 5}, False),
        ({"exit": "interrupted", "iterations": 9}, {"iterations": 5}, False),
        ({"exit": "iterations", "iterations": 5}, {"iterations": 5, "steps": None}, True),
        ({"exit": "iterations", "iterations": 5}, {"iterations": 9}, False),
        ({"exit": "steps", "steps": 64}, {"steps": 60.0}, True),
        ({"exit": "steps", "steps": 64}, {"iterations": 5}, False),
        ({"exit": "seconds", "seconds": 3.2}, {"stop": {"seconds": 3}}, True),
        ({"exit": "seconds", "seconds": 3.2}, {"stop": {"seconds": 4}}, False),
        ({"exit": "nash_conv", "nash_conv": 0.01}, {"stop": {"nash_conv": 0.01}}, True),
        ({"exit": "nash_conv", "nash_conv": 0.01}, {"stop": {"nash_conv": 0.001}}, False),
    ],
)
def test_when_a_job_is_done(tmp_path, summary, limits, done):
    """It is not done if a longer run is requested now."""
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert is_done(tmp_path, limits) is done


def test_a_sweep_goes_on_with_a_job_that_was_stopped(tmp_path, monkeypatch):
    keys = ("-m", *SMALL, "save_every=1", "iterations=8", "seed=0,1", "run=of_${seed}")
    step = Run.step

    def stop_once(run, *arguments):
        monkeypatch.setattr(Run, "step", step)
        return signal.raise_signal(signal.SIGTERM) or step(run, *arguments)

    monkeypatch.setattr(Run, "step", stop_once)
    assert marl_train(tmp_path, *keys).code == 143
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"of_0"}
    assert checkpoints(tmp_path / "runs" / "of_0") == [1]
    assert marl_train(tmp_path, *keys).code == 0
    assert marl_train(tmp_path, *SMALL, "save_every=1", "iterations=8", "run=whole").code == 0
    assert_same_run(tmp_path / "runs" / "whole", tmp_path / "runs" / "of_0", 8)
    assert checkpoints(tmp_path / "runs" / "of_1")[0] == 8


def test_a_run_in_a_worker_has_one_thread_unless_told_otherwise(tmp_path, monkeypatch):
    """Several runs share the cores."""
    monkeypatch.setattr("marl_engine.runners.resident.WORKS", True)
    threads = []
    for number in (None, 3):
        job = Job("seed=0", {"threads": number, "overwrite": True}, None)
        result = run_job(("head", job), tmp_path, lambda config, folder: threads.append(config["threads"]) or 0)
        assert result == (0, "head\n")
    assert threads == [1, 3]


def test_a_sweep_looks_at_its_folders_first(short_run, copy):
    shutil.copytree(copy, copy.with_name("of_1"))
    home = copy.parent.parent
    done = marl_train(home, "-m", *SMALL, "iterations=1", "seed=0,1", "run=of_${seed}")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("runs/of_1 was made with another configuration or other files; ")
    (copy.with_name("of_0")).mkdir()
    (copy.with_name("of_0") / "notes.txt").write_text("mine")
    shutil.rmtree(copy.with_name("of_1"))
    assert marl_train(home, "-m", *SMALL, "iterations=1", "seed=0,1", "run=of_${seed}").code == 2
    assert {path.name for path in (home / "runs").iterdir()} == {"x", "of_0"}


def test_a_folder_has_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "x")
    process = start_command(tmp_path, *SMALL, "run=x", "save_every=1")
    await_that(lambda: len(folder.records()) >= 2, process)
    for keys in (("resume=runs/x",), (*SMALL, "run=x", "overwrite=true", "iterations=1")):
        done = marl_train(tmp_path, *keys)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"runs/x is in use by process {process.pid}; wait until it ends, or stop it\n"
    assert process.is_alive()
    process.kill()
    process.join()
    steps = [record["iteration"] for record in folder.records()]
    assert steps == list(range(1, len(steps) + 1)), "somebody else wrote among the records"
    last = steps[-1] + 2
    assert marl_train(tmp_path, "resume=runs/x", f"iterations={last}").code == 0
    assert [record["iteration"] for record in folder.records()] == list(range(1, last + 1))
    assert {path.name for path in folder.path.iterdir()} == PARTS


def test_a_folder_in_which_nothing_was_written_is_free(tmp_path):
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / ".lock").write_text("1")
    assert marl_train(tmp_path, *SMALL, "run=x", "iterations=1").code == 0


def test_a_run_may_be_elsewhere(short_run, copy):
    """A link to a folder on another disk is followed, and kept when the run is replaced."""
    elsewhere = copy.rename(copy.parent.parent / "elsewhere")
    copy.symlink_to(elsewhere)
    assert marl_train(copy.parent.parent, *SMALL, "run=x", "iterations=1", "overwrite=true").code == 0
    assert copy.is_symlink()
    assert {path.name for path in elsewhere.iterdir()} == PARTS
    assert checkpoints(elsewhere) == [1]


def test_a_disk_that_refuses_a_name(tmp_path):
    done = marl_train(tmp_path, *SMALL, f"run={300 * 'a'}", "iterations=1")
    assert (done.code, done.out, done.err) == (2, "", f"runs/{300 * 'a'}: File name too long\n")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize(
    ("keys", "code"),
    [(("resume=runs/x", "iterations=8"), 2), ((*SMALL, "run=y"), 2), (("-m", *SMALL, "run=y${seed}", "seed=0,1"), 1)],
)
def test_a_disk_that_takes_nothing(copy, monkeypatch, keys, code, number):
    """A full or read-only disk ends a job with one sentence, and nothing is lost."""

    def fail(path, flags, *rest, **others):
        if flags & (os.O_CREAT | os.O_WRONLY):
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path, flags, *rest, **others)

    open_file, before = os.open, contents(copy)
    monkeypatch.setattr(os, "open", fail)
    done = marl_train(copy.parent.parent, *keys)
    assert done.code == code
    assert "Traceback" not in done.err
    assert done.err.count(f": {os.strerror(number)}\n") == (2 if "-m" in keys else 1)
    assert contents(copy) == before


def test_an_existing_run_name_is_refused(short_run, copy):
    home, before = copy.parent.parent, contents(copy)
    refused = marl_train(home, *SMALL, "run=x", "iterations=1")
    assert refused.code == 2
    assert "runs/x exists" in refused.err
    assert contents(copy) == before
    (copy / "stray").write_text("of the run before")
    assert marl_train(home, *SMALL, "run=x", "iterations=1", "overwrite=true").code == 0
    assert {path.name for path in copy.iterdir()} == PARTS
    assert [record["iteration"] for record in RunFolder(copy).records()] == [1]
    assert checkpoints(copy) == [1]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def is_gone(path):
    path.unlink()


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [cut, flip, is_gone])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_loaded(full_run, copy, damage, name):
    damage(copy / "checkpoints" / "00000006" / name)
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=8")
    assert (done.code, done.err) == (0, "")
    (sentence,) = [line for line in done.out.splitlines() if "damaged" in line]
    assert "runs/x/checkpoints/00000006" in sentence
    assert "going on from iteration 5" in sentence
    assert_same_run(full_run, copy, 8)


def scalars(folder, name):
    """Returns the steps at which TensorBoard shows a metric."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars(name)]


def test_tensorboard_shows_every_step_once(tmp_path, monkeypatch):
    """Iteration 6, whose checkpoint is gone, is repeated."""
    monkeypatch.setattr("marl_engine.runs.scalars.WRITE_EVERY", 0.0)
    assert marl_train(tmp_path, *SMALL, "run=x", "save_every=1", "iterations=6").code == 0
    shutil.rmtree(tmp_path / "runs" / "x" / "checkpoints" / "00000006")
    assert marl_train(tmp_path, "resume=runs/x", "iterations=8").code == 0
    assert scalars(tmp_path / "runs" / "x", "loss/value") == [32 * iteration for iteration in range(1, 9)]


def test_tensorboard_is_written_rarely_and_lacks_no_metric(tmp_path, monkeypatch):
    """Of records that come faster, each metric has its last value; metrics.jsonl has all records at once."""
    monkeypatch.setattr("marl_engine.runs.scalars.WRITE_EVERY", 1e9)
    folder = RunFolder(tmp_path)
    for iteration in range(1, 6):
        evaluation = {"evaluation/return/mean": 1.0} if iteration == 3 else {}
        folder.log({"iteration": iteration, "steps": 10 * iteration, "seconds": 0.1, "loss": 1.0, **evaluation})
        assert [record["iteration"] for record in folder.records()] == list(range(1, iteration + 1))
    folder.close()
    assert scalars(tmp_path, "loss") == [10, 50]
    assert scalars(tmp_path, "evaluation/return/mean") == [30]


def test_a_run_without_an_intact_checkpoint_is_refused(copy):
    paths = checkpoint.newest_first(copy / "checkpoints")
    for path in paths:
        cut(path / "tensors.safetensors")
    before = contents(copy)
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=8")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert all(path.name in done.err for path in paths)
    assert contents(copy) == before


def test_a_run_resumes_from_the_last_intact_checkpoint(short_run, copy):
    """If checkpoints 4, 5 and 6 are damaged, 3 is kept until enough valid ones are saved."""
    shutil.copytree(copy / "checkpoints" / "00000006", copy / "checkpoints" / "00000003", dirs_exist_ok=True)
    for path in checkpoint.newest_first(copy / "checkpoints"):
        if path.name != "00000003":
            cut(path / "tensors.safetensors")
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=5")
    assert (done.code, done.err) == (0, "")
    assert checkpoints(copy) == [5, 4, 3]
    assert all(checkpoint.read(path) for path in checkpoint.newest_first(copy / "checkpoints"))
    assert (copy / "checkpoints" / "damaged-00000006").is_dir()


@pytest.mark.parametrize("line", [b"{", b"\xff\x00\x00", b"[]", b'{"iteration": 3}', b'{"iteration": "3", "steps": 9}'])
def test_a_bad_line_is_put_aside_and_no_later_record_is_lost(full_run, copy, line):
    lines = copy.joinpath("metrics.jsonl").read_bytes().splitlines(keepends=True)
    copy.joinpath("metrics.jsonl").write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:], lines[-1][:20]]))
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=8")
    assert (done.code, done.err) == (0, "")
    (sentence,) = [each for each in done.out.splitlines() if "bad line" in each]
    assert sentence.startswith("1 bad line of runs/x/metrics.jsonl is now in runs/x/metrics.damaged")
    assert copy.joinpath("metrics.damaged").read_bytes() == line + b"\n"
    assert_same_run(full_run, copy, 8)


def test_a_best_checkpoint_that_is_gone_is_not_drawn(copy):
    best = json.loads((copy / "summary.json").read_text())["best"]["iteration"]
    shutil.rmtree(copy / "checkpoints" / f"{best:08d}")
    (copy / "replay.gif").unlink()
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=6")
    assert (done.code, done.err) == (0, "")
    assert (copy / "replay.gif").is_file()


def test_checkpoints_that_do_not_fit_are_refused(copy):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("hidden:\n  - 8", "hidden:\n  - 9"))
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=8")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "the checkpoints in runs/x do not fit its config.yaml" in done.err


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(short_run, copy):
    done = marl_train(copy.parent.parent, "resume=runs/x", "iterations=20", "responder.learning_rate=1e38")
    assert (done.code, done.err) == (1, "")
    (sentence,) = [line for line in done.out.splitlines() if "not finite" in line]
    assert sentence.startswith("stopped after iteration ")
    last = checkpoints(copy)[0]
    assert sentence.endswith(f"the last good checkpoint is iteration {last}")
    assert_same_checkpoint(short_run, copy, 6)
    for leaf in dict(leaves(RunFolder(copy).latest()[1])).values():
        assert not isinstance(leaf, torch.Tensor) or leaf.isfinite().all()


def test_a_loss_that_is_never_finite_leaves_no_checkpoint(tmp_path):
    done = marl_train(tmp_path, *SMALL, "run=x", "iterations=3", "responder.learning_rate=1e30")
    assert (done.code, done.err) == (1, "")
    assert "stopped after iteration" in done.out
    assert "Traceback" not in done.out


def signal_process(process, number):
    """Sends a signal; returns the exit code and the seconds until the process ended."""
    since = time.monotonic()
    os.kill(process.pid, number)
    process.join(60)
    return process.exitcode, time.monotonic() - since


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_sums_up(tmp_path, number):
    folder = RunFolder(tmp_path / "runs" / "x")
    process = start_command(tmp_path, *SMALL, "run=x", "save_every=1000000", "evaluate_every=1000000")
    await_that(lambda: len(folder.records()) >= 3, process)
    assert signal_process(process, number)[0] == 128 + number
    assert {path.name for path in folder.path.iterdir()} == PARTS
    summary = json.loads((folder.path / "summary.json").read_text())
    assert summary["exit"] == "interrupted"
    assert checkpoints(folder.path) == [summary["iterations"]] == [folder.records()[-1]["iteration"]]


def test_a_signal_ends_an_evaluation_too(tmp_path):
    """An evaluation of 4,000 games takes minutes; its iteration is logged without it and saved within seconds."""
    folder = RunFolder(tmp_path / "runs" / "x")
    keys = "run=x", "game.horizon=400", "episodes=4000", "evaluate_every=3", "save_every=1000000"
    process = start_command(tmp_path, *SMALL, *keys)
    await_that(lambda: len(folder.records()) == 2, process)
    process.join(1)
    code, seconds = signal_process(process, signal.SIGTERM)
    assert code == 143
    assert seconds < 20
    assert checkpoints(folder.path) == [3]
    assert [record["iteration"] for record in folder.records()] == [1, 2, 3]
    assert "evaluation/return/mean" not in folder.records()[-1]


def test_an_evaluation_that_a_signal_ended_is_made_up_for_by_the_resumed_run(tmp_path, monkeypatch, full_run):
    """Also where TensorBoard shows it; the record is that of a run that nobody stopped."""
    folder = RunFolder(tmp_path / "runs" / "x")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "evaluate", lambda run, full=False: signal.raise_signal(signal.SIGINT) or wait())
        patch.setattr("marl_engine.commands.summary.GRACE", 0.2)
        assert marl_train(tmp_path, *SMALL, "run=x", "save_every=2", "iterations=8").code == 130
    assert "evaluation/return/mean" not in folder.records()[-1]
    assert marl_train(tmp_path, "resume=runs/x", "iterations=8").code == 0
    assert_same_run(full_run, folder.path, 8)
    assert scalars(folder.path, "evaluation/return/mean")[0] == 64
    assert 64 in scalars(folder.path, "loss/value")


def test_a_signal_during_the_last_evaluation_shortens_it(tmp_path, monkeypatch):
    evaluate = Run.evaluate
    monkeypatch.setattr(
        Run, "evaluate", lambda run, full=False: (full and signal.raise_signal(signal.SIGINT)) or evaluate(run, full)
    )
    assert marl_train(tmp_path, *SMALL, "run=x", "iterations=2").code == 130
    summary = RunFolder(tmp_path / "runs" / "x").summary()
    assert (summary["exit"], summary["iterations"], summary["best"]["iteration"]) == ("iterations", 2, 2)
    assert "return/mean" in summary
    assert "return/greedy/mean" not in summary


def test_a_signal_leaves_a_summary_also_if_an_evaluation_takes_too_long(tmp_path, monkeypatch):
    """The run goes on from there, and its best iteration is one that has been evaluated."""
    folder, keys = RunFolder(tmp_path / "runs" / "x"), ("run=x", "iterations=2", "evaluate_every=1000")
    with monkeypatch.context() as patch:
        patch.setattr("marl_engine.commands.summary.GRACE", 0.2)
        patch.setattr(Run, "evaluate", lambda run, full=False: signal.raise_signal(signal.SIGINT) if full else wait())
        assert marl_train(tmp_path, *SMALL, *keys).code == 130
    assert (folder.summary()["iterations"], folder.summary()["best"]) == (2, None)
    assert "return/mean" not in folder.summary()
    assert marl_train(tmp_path, "resume=runs/x", "iterations=3").code == 0
    assert folder.summary()["best"]["iteration"] == 3


def wait():
    """Waits for a signal."""
    time.sleep(60)


def test_a_hangup_that_is_ignored_stays_so(tmp_path, monkeypatch):
    """As with nohup."""
    step = Run.step
    monkeypatch.setattr(Run, "step", lambda *arguments: signal.raise_signal(signal.SIGHUP) or step(*arguments))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert marl_train(tmp_path, *SMALL, "run=x", "iterations=1").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(short_run, copy):
    shutil.rmtree(copy / "checkpoints")
    (copy / "summary.json").unlink()
    done = marl_train(copy.parent.parent, "resume=runs/x")
    assert (done.code, done.err) == (0, "")
    assert "runs/x has no checkpoint yet; going on from iteration 0" in done.out
    assert_same_run(short_run, copy, 6)


def test_second_interrupt_ends_at_once(tmp_path, monkeypatch):
    def twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "step", twice)
    done = marl_train(tmp_path, *SMALL, "run=x")
    assert (done.code, done.err) == (130, "interrupted\n")
    assert "SIGINT: the run stops as soon as it can be saved" in done.out
    assert not checkpoints(tmp_path / "runs" / "x")


def strike(process, folder, chance):
    """Kills a process at a random moment of its start, of an iteration or of a save."""
    kind = chance.choice(["start", "iteration", "save", "save"])
    if kind == "start":
        process.join(chance.uniform(0.0, 0.5))
    else:
        goal = (checkpoints(folder) or [0])[0] + chance.choice([1, 2])
        await_that(lambda: (checkpoints(folder) or [0])[0] >= goal, process)
        if kind == "save":
            await_that(lambda: any(folder.glob("checkpoints/.partial-*")), process)
            process.join(chance.uniform(0.0, 3 * PAUSE))
        else:
            process.join(chance.uniform(0.0, 0.03))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def assert_valid(folder):
    """Checks that the newest checkpoint is valid, and belongs to the last logged iteration or the one before."""
    iteration, _, damages = folder.latest()
    assert damages == []
    assert iteration == checkpoints(folder.path)[0]
    logged = folder.records()[-1]["iteration"]
    assert iteration <= logged <= iteration + 1


def test_kills_change_nothing(tmp_path):
    """A run that was killed a dozen times at random moments has the same result as an uninterrupted one."""
    common = (*SMALL, "save_every=1", f"iterations={LONG}")
    chance, halfway = random.Random(0), 0
    killed = tmp_path / "runs" / "killed"
    for _ in range(KILLS):
        if checkpoints(killed):
            process = start_command(tmp_path, "resume=runs/killed", pause=PAUSE)
        else:
            process = start_command(tmp_path, *common, "run=killed", "overwrite=true", pause=PAUSE)
        strike(process, killed, chance)
        halfway += any(killed.glob("checkpoints/.partial-*"))
        if checkpoints(killed):
            assert_valid(RunFolder(killed))
    assert halfway >= 3, "too few kills came in the middle of a save"
    assert checkpoints(killed)[0] < LONG
    assert marl_train(tmp_path, "resume=runs/killed").code == 0
    assert marl_train(tmp_path, *common, "run=whole").code == 0
    assert_same_run(tmp_path / "runs" / "whole", killed, LONG)
    assert {path.name for path in killed.iterdir()} == PARTS


def test_a_signal_in_the_start_prints_one_line(tmp_path):
    """At any moment of loading and building, without a traceback."""
    code = (
        "from marl_engine.commands import entry; load = entry.import_module;"
        "entry.import_module = lambda name: print('began', flush=True) or load(name); entry.train()"
    )
    for wait, number in ((0.0, signal.SIGINT), (0.3, signal.SIGTERM), (0.8, signal.SIGHUP), (1.5, signal.SIGINT)):
        command = [sys.executable, "-c", code, *SMALL, "run=x"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stdout.readline() == "began\n"
            time.sleep(wait)
            run.send_signal(number)
            out, err = run.communicate(timeout=60)
        assert run.returncode == 128 + number
        assert (err == "interrupted\n" and not out) or ("saved as iteration" in out and not err)
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
