"""Checkpoints that survive: whole or absent, checked when read, and free of code.

A state is a tree of dicts and lists with tensors, numbers, strings and None as leaves. Its tensors go to
tensors.safetensors, the rest to state.json, the digests of both to manifest.json; all is written to a
folder aside, forced to disk, and renamed, so that a folder with its final name is complete. What is damaged later
is renamed, too, and counts no more.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from marl_engine.numerics.state_checks import _inside

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
ASIDE, DAMAGED = ".partial-", "damaged-"


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


def write(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Writes checkpoint `iteration` into `folder` and returns its path; one of that name is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{iteration:08d}"
    aside = folder / f"{ASIDE}{target.name}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    tensors: dict[str, Tensor] = {}
    contents = {STATE: json.dumps(_without_tensors(state, "", tensors)).encode(), TENSORS: save(tensors)}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in {**contents, MANIFEST: json.dumps(digests).encode()}.items():
        _write_through(aside / name, content)
    _force(aside)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)
    _force(folder)
    return target


def read(path: Path) -> dict[str, Any]:
    """The state that was written to `path`. Raises Damaged when it is not whole."""
    contents = _contents(path)
    return _with_tensors(json.loads(contents[STATE]), "", load(contents[TENSORS]))


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the latest iteration first."""
    paths = (path for path in folder.glob("[0-9]*") if path.name.isdigit())
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def read_newest_first(folder: Path) -> Iterator[tuple[int, dict[str, Any] | Damaged]]:
    """Yields (iteration, state) of the checkpoints, the newest first.

    For a damaged one, the error is yielded in place of the state.
    """
    for path in newest_first(folder):
        try:
            yield int(path.name), read(path)
        except Damaged as damage:
            yield int(path.name), damage


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is as it was written, if there is one."""
    return next((path for path in newest_first(folder) if _is_whole(path, _stamp(path))), None)


def quarantine(folder: Path) -> None:
    """Renames damaged checkpoints from 00000030 to damaged-00000030, so that they are kept but not read."""
    for path in newest_first(folder):
        if not _is_whole(path, _stamp(path)):
            target = folder / f"{DAMAGED}{path.name}"
            shutil.rmtree(target, ignore_errors=True)
            os.replace(path, target)


def prune(folder: Path, keep: int, always: int | None = None) -> None:
    """Removes all but the newest `keep` valid checkpoints and, if there is one, that of iteration `always`."""
    quarantine(folder)
    for path in newest_first(folder)[keep:]:
        if int(path.name) != always:
            shutil.rmtree(path)


def _contents(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint, by name. Raises Damaged when one is not what was written."""
    try:
        digests = json.loads((path / MANIFEST).read_bytes())
        contents = {name: (path / name).read_bytes() for name in (STATE, TENSORS)}
        wrong = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != digests[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__})") from error
    if wrong:
        raise Damaged(f"{path / wrong[0]} is damaged")
    return contents


@lru_cache(maxsize=64)
def _is_whole(path: Path, stamp: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a checkpoint is as it was written, which is looked up again when its files have another stamp."""
    try:
        _contents(path)
    except Damaged:
        return False
    return True


def _stamp(path: Path) -> tuple[tuple[int, ...], ...]:
    """Returns inode, size and time of change, in nanoseconds, of each file."""
    files = (file.stat() for name in (MANIFEST, STATE, TENSORS) if (file := path / name).exists())
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in files)


def _force(folder: Path) -> None:
    """Forces the entries of a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _without_tensors(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """A JSON tree with {"tensor": its place} for a tensor; the tensors are collected."""
    if isinstance(tree, Tensor):
        tensors[place] = tree.detach().cpu().contiguous().clone()
        return {"tensor": place}
    if isinstance(tree, dict):
        return {str(key): _without_tensors(value, _inside(place, key), tensors) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_tensors(value, _inside(place, index), tensors) for index, value in enumerate(tree)]
    return tree


def _with_tensors(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, dict):
        if tree == {"tensor": place}:
            return tensors[place]
        return {key: _with_tensors(value, _inside(place, key), tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_tensors(value, _inside(place, index), tensors) for index, value in enumerate(tree)]
    return tree
