"""A checkpoint is read exactly as it was written, or is reported as damaged; the newest and best ones are kept."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from marl_engine.runs import checkpoint

STATE = {
    "weights": {"first": torch.arange(6.0).view(2, 3), "deep": [{"moments": torch.tensor([0.1, -0.0, torch.inf])}]},
    "types": [torch.tensor(3), torch.zeros(0, 2, dtype=torch.int16), torch.tensor([True, False]), torch.arange(2)],
    "numbers": [1, -(2**60), 0.1 + 0.2, 1e-300, None, True],
    "tensor": {"tensor": torch.ones(1)},
    "told": [{"tensor": "told"}, {"tensor": "/weights/first"}],
    "a/b": {"~1": torch.ones(2)},
    "a": {"b": {"/": torch.zeros(3), "~": torch.ones(4)}, "b~1~1": torch.zeros(5)},
    "text": {"name": "Überkoch", "empty": "", "none": {}, "nothing": []},
}


def same(first, second):
    """Whether two states are equal in types, shapes and all bits."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read_all(folder):
    """Returns iteration and state of the checkpoints in a folder, the latest iteration first."""
    return [(int(path.name), checkpoint.read(path)) for path in checkpoint.newest_first(folder)]


def test_same_tells_states_apart():
    assert same(STATE, STATE)
    assert not same({"a": torch.zeros(1)}, {"a": torch.zeros(1, dtype=torch.float64)})
    assert not same({"a": 1}, {"a": 1.0})


def test_a_tree_is_restored_exactly(tmp_path):
    path = checkpoint.write(tmp_path, 120, STATE)
    assert path == tmp_path / "00000120"
    assert same(checkpoint.read(path), STATE)


def test_tensors_that_share_memory_or_are_strided_come_back(tmp_path):
    full = torch.arange(12.0).view(3, 4)
    state = {"row": full[1], "turned": full.T, "again": full, "learned": torch.nn.Parameter(full[0])}
    result = checkpoint.read(checkpoint.write(tmp_path, 1, state))
    for name, tensor in state.items():
        assert torch.equal(result[name], tensor)
        assert not result[name].requires_grad


def test_tuples_become_lists_and_keys_become_text(tmp_path):
    assert checkpoint.read(checkpoint.write(tmp_path, 1, {"pair": (1, 2), "by": {7: "x"}})) == {
        "pair": [1, 2],
        "by": {"7": "x"},
    }


def test_files_hold_no_code(tmp_path):
    path = checkpoint.write(tmp_path, 1, STATE)
    assert names(path) == ["manifest.json", "state.json", "tensors.safetensors"]
    assert json.loads((path / "state.json").read_text())["text"]["name"] == "Überkoch"


def test_a_checkpoint_of_that_name_is_replaced_whole(tmp_path):
    checkpoint.write(tmp_path, 5, STATE)
    path = checkpoint.write(tmp_path, 5, {"only": torch.ones(2)})
    assert same(checkpoint.read(path), {"only": torch.ones(2)})
    assert names(tmp_path) == ["00000005"]


def test_half_written_files_are_ignored_and_overwritten(tmp_path):
    checkpoint.write(tmp_path, 1, {"number": 1})
    aside = tmp_path / ".partial-00000002"
    aside.mkdir()
    (aside / "state.json").write_text("{")
    assert checkpoint.newest_first(tmp_path) == [tmp_path / "00000001"]
    assert read_all(tmp_path) == [(1, {"number": 1})]
    checkpoint.write(tmp_path, 2, {"number": 2})
    assert names(tmp_path) == ["00000001", "00000002"]


def test_files_get_their_final_name_only_when_complete(tmp_path, monkeypatch):
    """If the last file cannot be written, there is no new checkpoint, and an older one of that name remains."""
    checkpoint.write(tmp_path, 1, {"number": 1})
    really = checkpoint._write_through

    def fails(path, content):
        if path.name == "manifest.json":
            raise OSError("no space left")
        really(path, content)

    monkeypatch.setattr(checkpoint, "_write_through", fails)
    for iteration in (1, 2):
        with pytest.raises(OSError, match="no space left"):
            checkpoint.write(tmp_path, iteration, {"number": 3})
    assert read_all(tmp_path) == [(1, {"number": 1})]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["manifest.json", "state.json", "tensors.safetensors"])
def test_damage_is_reported_and_the_previous_checkpoint_remains(tmp_path, name, damage):
    checkpoint.write(tmp_path, 1, STATE)
    damage(checkpoint.write(tmp_path, 2, STATE) / name)
    second, first = checkpoint.newest_first(tmp_path)
    with pytest.raises(checkpoint.Damaged) as refusal:
        checkpoint.read(second)
    assert str(tmp_path / "00000002") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert same(checkpoint.read(first), STATE)


def test_every_flipped_bit_is_detected(tmp_path):
    path = checkpoint.write(tmp_path, 1, {"tensor": torch.arange(3.0)})
    for name in ("state.json", "tensors.safetensors"):
        content = (path / name).read_bytes()
        for place in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            (path / name).write_bytes(flipped)
            with pytest.raises(checkpoint.Damaged):
                checkpoint.read(path)
        (path / name).write_bytes(content)
    assert same(checkpoint.read(path), {"tensor": torch.arange(3.0)})


@pytest.mark.parametrize(
    ("always", "remainder"),
    [(None, [6, 7, 8]), (2, [2, 6, 7, 8]), (7, [6, 7, 8]), (3, [6, 7, 8])],
    ids=["no best", "old best", "new best", "best that is gone"],
)
def test_prune_keeps_the_newest_and_the_best(tmp_path, always, remainder):
    for iteration in (1, 2, 4, 6, 7, 8):
        checkpoint.write(tmp_path, iteration, {"number": iteration})
    checkpoint.prune(tmp_path, 3, always=always)
    assert [(number, state["number"]) for number, state in read_all(tmp_path)] == [
        (number, number) for number in reversed(remainder)
    ]


def test_newest_is_by_number_not_by_name(tmp_path):
    for iteration in (99_999_999, 100_000_000):
        checkpoint.write(tmp_path, iteration, {})
    assert [iteration for iteration, _ in read_all(tmp_path)] == [100_000_000, 99_999_999]


def test_prune_counts_whole_checkpoints_and_puts_damaged_ones_aside(tmp_path):
    for iteration in (14, 24, 27, 30):
        checkpoint.write(tmp_path, iteration, STATE)
    for iteration, damage in ((24, cut), (27, flip), (30, Path.unlink)):
        damage(tmp_path / f"{iteration:08d}" / "tensors.safetensors")
    checkpoint.write(tmp_path, 15, STATE)
    checkpoint.prune(tmp_path, 3)
    assert [number for number, state in read_all(tmp_path) if same(state, STATE)] == [15, 14]
    assert names(tmp_path) == ["00000014", "00000015", "damaged-00000024", "damaged-00000027", "damaged-00000030"]


def test_a_checkpoint_damaged_after_its_check_is_rejected(tmp_path):
    for iteration in (1, 2, 3):
        checkpoint.write(tmp_path, iteration, STATE)
    checkpoint.prune(tmp_path, 3)
    flip(tmp_path / "00000003" / "state.json")
    checkpoint.write(tmp_path, 4, STATE)
    checkpoint.prune(tmp_path, 3)
    assert names(tmp_path) == ["00000001", "00000002", "00000004", "damaged-00000003"]


def test_a_checkpoint_that_was_just_written_is_not_read_back(tmp_path, monkeypatch):
    """Its digests are those of what was written; only checkpoints of earlier sessions, or changed ones, are read."""
    reads, contents = [], checkpoint._contents
    monkeypatch.setattr(checkpoint, "_contents", lambda path: reads.append(int(path.name)) or contents(path))
    for iteration in (1, 2, 3):
        checkpoint.write(tmp_path, iteration, STATE)
        checkpoint.prune(tmp_path, 2)
    assert reads == []
    flip(tmp_path / "00000002" / "state.json")
    checkpoint.prune(tmp_path, 2)
    assert reads == [2]
    assert names(tmp_path) == ["00000003", "damaged-00000002"]


def population(*numbers):
    """Returns a state with a population, whose members are numbers, in which two seats have the same members."""
    members = [{"weight": torch.full((3,), float(number))} for number in numbers]
    return {"solver": {"population": {"members": [members, list(members)], "games": torch.ones(2)}}, "number": 1}


def test_members_have_files_of_their_own(tmp_path):
    path = checkpoint.write(tmp_path, 1, population(0, 1))
    assert names(path / "population") == ["0-0.safetensors", "0-1.safetensors", "1-0.safetensors", "1-1.safetensors"]
    assert torch.equal(load_file(path / "population/1-1.safetensors")["weight"], torch.ones(3))
    assert same(checkpoint.read(path), population(0, 1))


def test_members_are_stored_once(tmp_path):
    """By all checkpoints and seats that have them; what is left when older checkpoints go is whole."""
    checkpoint.write(tmp_path, 1, population(0))
    path = checkpoint.write(tmp_path, 2, population(0, 1))
    assert [(path / f"population/{name}.safetensors").stat().st_nlink for name in ("0-0", "1-0", "0-1", "1-1")] == [
        *(4, 4, 2, 2)
    ]
    checkpoint.prune(tmp_path, 1)
    assert same(checkpoint.read(path), population(0, 1))


def test_a_damaged_member_is_written_anew(tmp_path):
    first = checkpoint.write(tmp_path, 1, population(0))
    flip(first / "population/0-0.safetensors")
    second = checkpoint.write(tmp_path, 2, population(0))
    assert same(checkpoint.read(second), population(0))
    with pytest.raises(checkpoint.Damaged, match=r"0-0\.safetensors is damaged"):
        checkpoint.read(first)
    checkpoint.quarantine(tmp_path)
    assert names(tmp_path) == ["00000002", "damaged-00000001"]


def test_members_are_written_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError("operation not permitted")

    monkeypatch.setattr(checkpoint.os, "link", refuse)
    checkpoint.write(tmp_path, 1, population(0))
    assert same(checkpoint.read(checkpoint.write(tmp_path, 2, population(0, 1))), population(0, 1))
