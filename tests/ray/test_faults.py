"""Signals and errors in runs whose Ray is their own, or a running cluster."""

import json
import os
import signal
import sys

import pytest
from command_runs import SMALL, assert_same_run, marl_train
from run_processes import COMMAND, await_that, descendants, start, start_process

RAY = ("runner=ray", "runner.workers=2", "responder.shard=1", "save_every=2")
REPLACED = "a worker died or did not answer in time; another one does its job again\n"


def saved(home):
    """Returns the iteration of the newest checkpoint of a run in a folder."""
    return max((int(each.name) for each in home.glob("runs/x/checkpoints/0*")), default=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_goes_on_with_the_same_bits(number, tmp_path):
    """A worker has been killed before. Ray's helpers need seconds to end, and more of them if nobody told them to."""
    shared = set(os.listdir("/dev/shm"))
    process = start(tmp_path, *SMALL, *RAY, "run=x", RAY_ADDRESS="127.0.0.1:9")  # not joined: no runner.address
    await_that(lambda: process.poll() is not None or saved(tmp_path), 200)
    assert len(descendants(tmp_path)) > 3
    os.kill(descendants(tmp_path, "ray::Worker")[0], signal.SIGKILL)
    later = saved(tmp_path) + 4
    await_that(lambda: process.poll() is not None or saved(tmp_path) >= later, 200)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == (128 + number if number == signal.SIGINT else -number), err
    await_that(lambda: not descendants(tmp_path), 240)
    assert not {each for each in set(os.listdir("/dev/shm")) - shared if "plasma" in each or "ray" in each}
    if number == signal.SIGINT:
        assert "resume=runs/x goes on with it" in out
        # One that was only starting is replaced without a word, and the summary has five seconds.
        assert err.replace(REPLACED, "") in ("", "interrupted\n")
        assert "raylet" not in out
    last = saved(tmp_path) + 2
    assert marl_train(tmp_path, "resume=runs/x", f"iterations={last}").code == 0
    assert marl_train(tmp_path, *SMALL, "responder.shard=1", "save_every=2", "run=y", f"iterations={last}").code == 0
    assert_same_run(tmp_path / "runs/x", tmp_path / "runs/y", last)


def test_an_error_in_a_game_is_shown_once_and_ends_the_run_that_joined_a_cluster(tmp_path, cluster):
    words = ("game=overcooked", "game._target_=lossy.Failing", "policy.hidden=[8]", *RAY, "runner.address=auto")
    process = start(tmp_path, *words, "responder.num_envs=4", "responder.rollout_length=8", "run=x")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert err.count("in step\n    raise ArithmeticError") == 1
    assert err.rstrip().endswith("ArithmeticError: the third step")
    assert json.dumps(err).count("Error") < 12


def test_a_small_shared_memory_works_and_is_reported(tmp_path):
    """In a name space of its own, whose /dev/shm has 32 MB, as in Docker 64."""
    small = 'mount -t tmpfs -o size=32M none /dev/shm && exec "$@"'
    words = [*SMALL, *RAY, "iterations=2", "run=x"]
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", small, "bash"]
    process = start_process(tmp_path, [*command, sys.executable, "-c", COMMAND, *words])
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert err.startswith("/dev/shm has 0.03 GB free, and Ray's object store takes")
    assert "after 2 iterations" in out
