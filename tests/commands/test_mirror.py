"""Copies of run folders on object storage: that of fsspec in memory."""

import shutil
from unittest.mock import Mock

import pytest
from command_runs import SMALL, assert_same_run, contents, marl_train
from fsspec.implementations.memory import MemoryFileSystem

from marl_engine.runs.folder import RunFolder

KEYS = (*SMALL, "run=x", "save_every=2")
MEMORY = "memory://bucket"


@pytest.fixture(autouse=True)
def storage():
    """The storage, which is empty."""
    files = MemoryFileSystem()
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of 6 iterations without a mirror."""
    home = tmp_path_factory.mktemp("whole")
    assert marl_train(home, *KEYS, "iterations=6").code == 0
    return home / "runs/x"


def test_the_copy_is_the_folder(tmp_path, storage):
    assert marl_train(tmp_path, *KEYS, f"mirror={MEMORY}", "iterations=8").code == 0
    copies = {path.removeprefix("/bucket/x/"): storage.cat_file(path) for path in storage.find("/bucket/x")}
    assert copies == {path.as_posix(): content for path, content in contents(tmp_path / "runs/x").items()}
    assert sum(name.endswith("manifest.json") for name in copies) == 3  # older checkpoints are gone there, too


def test_a_copy_on_a_disk_has_no_folders_of_old_checkpoints(tmp_path):
    assert marl_train(tmp_path, *KEYS, f"mirror=file://{tmp_path}/mirror", "iterations=8").code == 0
    here, there = tmp_path / "runs/x", tmp_path / "mirror/x"
    assert contents(here) == contents(there)
    assert sorted(each.name for each in (there / "checkpoints").iterdir()) == ["00000004", "00000006", "00000008"]


@pytest.mark.parametrize("damage", [None, "tensors.safetensors"])
def test_another_machine_goes_on_and_keeps_the_copy(whole, tmp_path, storage, damage):
    """Also if the last checkpoint did not arrive whole."""
    assert marl_train(tmp_path, *KEYS, f"mirror={MEMORY}", "iterations=4").code == 0
    shutil.rmtree(tmp_path / "runs")
    if damage:
        storage.rm_file(f"/bucket/x/checkpoints/00000004/{damage}")
    done = marl_train(tmp_path, f"resume={MEMORY}/x", "iterations=6")
    assert (done.code, done.err) == (0, "")
    assert_same_run(whole, tmp_path / "runs/x", 6)
    assert storage.exists("/bucket/x/checkpoints/00000006/manifest.json")


def test_a_storage_that_does_not_answer_costs_a_sentence(tmp_path, storage, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", Mock(side_effect=ConnectionError("no answer")))
        done = marl_train(tmp_path, *KEYS, f"mirror={MEMORY}", "iterations=3")
    assert done.code == 0
    assert "memory://bucket/x is behind runs/x: " in done.err
    assert "no answer; the next checkpoint tries again" in done.err
    assert marl_train(tmp_path, "resume=runs/x", "iterations=4").code == 0
    assert storage.exists("/bucket/x/checkpoints/00000004/manifest.json")


def test_what_is_refused(tmp_path, storage):
    def refusal(*keys):
        done = marl_train(tmp_path, *keys)
        assert (done.code, done.out) == (2, "")
        return done.err

    assert "mirror takes a URL" in refusal(*KEYS, "mirror=bucket")
    assert "Protocol not known: nowhere" in refusal(*KEYS, "mirror=nowhere://bucket")
    assert not (tmp_path / "runs").exists()
    assert refusal(f"resume={MEMORY}/y") == f"there is no run to resume at {MEMORY}/y\n"
    assert marl_train(tmp_path, *KEYS, f"mirror={MEMORY}", "iterations=1").code == 0
    assert "runs/x exists; go on with resume=runs/x" in refusal(f"resume={MEMORY}/x")
    shutil.rmtree(tmp_path / "runs")
    assert f"{MEMORY}/x exists; choose another run=" in refusal(*KEYS, f"mirror={MEMORY}")
    before = storage.cat_file("/bucket/x/metrics.jsonl")
    assert marl_train(tmp_path, *KEYS, f"mirror={MEMORY}", "iterations=2", "overwrite=true").code == 0
    assert len(storage.cat_file("/bucket/x/metrics.jsonl").splitlines()) == 2 > len(before.splitlines())
    assert RunFolder(tmp_path / "runs/x").config()["mirror"] == MEMORY
