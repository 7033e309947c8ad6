"""Checkpoints: written atomically, verified when read, and free of code.

A state is a tree of dicts and lists with tensors, numbers, strings and None as leaves. Its tensors are saved in
tensors.safetensors, the rest in state.json, and the digests of all files in manifest.json. Each member of a population
has a file of its own, population/SEAT-NUMBER.safetensors, with the weights of its policy by their names. Members never
change, so a file that an older checkpoint has already is linked, and takes no more room on the disk.

The files are written to a temporary folder, flushed to disk, and the folder is renamed, so that a folder with the final
name is complete. Checkpoints that are damaged later are renamed and ignored.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from marl_engine.numerics.state_checks import child_place

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
MEMBERS = "population"  # folder of the members in a checkpoint
MEMBER_PLACE = re.compile(r"/solver/population/members/(\d+)/(\d+)/(.+)")  # of a tensor in the tree
MEMBER_FILE = re.compile(rf"{MEMBERS}/(\d+)-(\d+)\.safetensors")
PARTIAL, DAMAGED = ".partial-", "damaged-"

Stamp = tuple[tuple[int, ...], ...]
VALID: dict[Path, Stamp] = {}  # checkpoints whose digests matched, or that were written here, when they had this stamp


class Damaged(ValueError):
    """A checkpoint whose files are missing or changed."""


def write(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Writes checkpoint `iteration` into `folder` and returns its path. An older one of that name is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{iteration:08d}"
    partial = folder / f"{PARTIAL}{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_without_tensors(state, "", tensors)).encode()
    contents = {STATE: tree, **{name: save(each) for name, each in split_members(tensors).items()}}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    latest, first = newest_first(folder)[:1], {digests[name]: partial / name for name in reversed(contents)}
    for name, content in contents.items():
        sources = [first[digests[name]], *(path / name for path in latest)] if MEMBER_FILE.fullmatch(name) else []
        _place(partial / name, content, sources)
    _write_through(partial / MANIFEST, json.dumps(digests).encode())
    for path in partial.glob(MEMBERS):
        _flush(path)
    _flush(partial)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    _flush(folder)
    VALID[target] = _stamp(target)
    return target


def read(path: Path) -> dict[str, Any]:
    """Returns the state that was written to `path`. Raises Damaged."""
    contents = _contents(path)
    tree = json.loads(contents.pop(STATE))
    return _with_tensors(tree, "", merge_members({name: load(content) for name, content in contents.items()}))


def split_members(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Returns tensors, given by their places in a state, by file; those of members have the names of weights there."""
    files: dict[str, dict[str, Tensor]] = {TENSORS: {}}
    for place, tensor in tensors.items():
        member = MEMBER_PLACE.fullmatch(place)
        if member is None:
            files[TENSORS][place] = tensor
        else:
            seat, number, name = member.groups()
            files.setdefault(f"{MEMBERS}/{seat}-{number}.safetensors", {})[name] = tensor
    return files


def merge_members(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the tensors of the files of `split_members` by their places in the state."""
    tensors: dict[str, Tensor] = {}
    for file, named in files.items():
        member = MEMBER_FILE.fullmatch(file)
        place = "" if member is None else "/solver/population/members/{}/{}/".format(*member.groups())
        tensors |= {f"{place}{name}": tensor for name, tensor in named.items()}
    return tensors


def newest_first(folder: Path) -> list[Path]:
    """Returns the paths of the checkpoints in a folder, the latest iteration first."""
    paths = (path for path in folder.glob("[0-9]*") if path.name.isdigit())
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def newest_valid(folder: Path) -> Path | None:
    """Returns the path of the newest valid checkpoint; None if there is none."""
    return next((path for path in newest_first(folder) if _is_valid(path)), None)


def quarantine(folder: Path) -> None:
    """Renames damaged checkpoints, as from 00000030 to damaged-00000030, so that they are not read again."""
    for path in newest_first(folder):
        if not _is_valid(path):
            target = folder / f"{DAMAGED}{path.name}"
            shutil.rmtree(target, ignore_errors=True)
            os.replace(path, target)


def prune(folder: Path, keep: int, always: int | None = None) -> None:
    """Removes all but the newest `keep` valid checkpoints and, if there is one, that of iteration `always`."""
    quarantine(folder)
    for path in newest_first(folder)[keep:]:
        if int(path.name) != always:
            shutil.rmtree(path)
            VALID.pop(path, None)


def _contents(path: Path) -> dict[str, bytes]:
    """Returns the files of a checkpoint by name. Raises Damaged if a digest does not match."""
    try:
        digests = json.loads((path / MANIFEST).read_bytes())
        names = (STATE, TENSORS, *filter(MEMBER_FILE.fullmatch, digests))
        contents = {name: (path / name).read_bytes() for name in names}
        errors = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != digests[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__})") from error
    if errors:
        raise Damaged(f"{path / errors[0]} is damaged")
    return contents


def _is_valid(path: Path) -> bool:
    """Whether the digests of a checkpoint match. They are computed again if its files do not have the known stamp."""
    stamp = _stamp(path)
    if VALID.get(path) != stamp:
        try:
            _contents(path)
        except Damaged:
            return False
        VALID[path] = stamp
    return True


def _stamp(path: Path) -> Stamp:
    """Returns inode, size and modification time in nanoseconds of each file."""
    files = (*(path / name for name in (MANIFEST, STATE, TENSORS)), *sorted((path / MEMBERS).glob("*")))
    stats = (file.stat() for file in files if file.exists())
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def _flush(folder: Path) -> None:
    """Flushes the entries of a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _place(path: Path, content: bytes, sources: Iterable[Path]) -> None:
    """Writes a file, or links it to the first of some files that has the same content."""
    path.parent.mkdir(exist_ok=True)
    for source in sources:
        if source.is_file() and source.read_bytes() == content:
            with suppress(OSError):  # not every file system has links
                os.link(source, path)
                return
    _write_through(path, content)


def _write_through(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _without_tensors(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Returns a tree for JSON, with {"tensor": place} in place of tensors, which are added to `tensors`."""
    if isinstance(tree, Tensor):
        tensors[place] = tree.detach().cpu().contiguous().clone()
        return {"tensor": place}
    if isinstance(tree, dict):
        return {str(key): _without_tensors(value, child_place(place, key), tensors) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_tensors(value, child_place(place, index), tensors) for index, value in enumerate(tree)]
    return tree


def _with_tensors(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, dict):
        if tree == {"tensor": place}:
            return tensors[place]
        return {key: _with_tensors(value, child_place(place, key), tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_tensors(value, child_place(place, index), tensors) for index, value in enumerate(tree)]
    return tree
