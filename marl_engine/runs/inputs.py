"""Input files of runs: they are copied into the run folder, and a resumed run uses the copies.

Classes declare the fields that may name files or folders: `payoffs: str | None = outside(None)`.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.configuration import class_of
from marl_engine.errors import Refused
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import write_atomically

INPUTS, INDEX = "inputs", "inputs.json"
LARGEST = 64 * 2**20  # bytes; larger inputs, such as language models, are not copied: only their digest is saved
OPENSPIEL_FILE = re.compile(r"\bfilename=([^,()]+)")  # files in OpenSpiel's names of games


class Input(NamedTuple):
    """A file or folder that a configuration names."""

    key: str  # of the configuration, such as "game.payoffs"
    text: str  # its value, or a part of it
    origin: str  # its absolute path
    digest: str
    copy: str | None  # its path below inputs/; None: too large to copy


def list_inputs(config: Mapping[str, Any]) -> list[Input]:
    """Returns the inputs of a configuration, with digests of their current content."""
    inputs: list[Input] = []
    for key, text in declared_inputs(config):
        path = Path(text).absolute()
        size = sum(file.stat().st_size for file in list_files(path).values())
        number = sum(item.key == key for item in inputs)
        place = f"{key}{f'.{number}' if number else ''}/{path.name}"
        inputs.append(Input(key, text, str(path), content_digest(path), place if size <= LARGEST else None))
    return inputs


def check_outside(inputs: list[Input], folder: Path) -> None:
    """Raises Refused if an input is in the folder of a run that is about to be replaced."""
    for item in inputs:
        if Path(item.origin).resolve().is_relative_to(folder.resolve()):
            raise Refused(
                f"{item.key}: {item.text} is in {folder}, which overwrite=true would remove; choose another run="
            )


def copy_inputs(inputs: list[Input], folder: Path) -> None:
    """Copies inputs into the folder of a run. Raises Refused if one has changed since it was listed."""
    for item in inputs:
        source = Path(item.origin)
        target = source if item.copy is None else folder / INPUTS / item.copy
        if target != source:
            copy_files(source, target)
        if content_digest(target) != item.digest:
            raise Refused(f"{item.key}: {item.text} was changed while the run began; begin again")
    if inputs:
        (folder / INPUTS).mkdir(exist_ok=True)
        write_atomically(folder / INPUTS / INDEX, json.dumps([item._asdict() for item in inputs], indent=2) + "\n")


def copy_files(source: Path, target: Path) -> None:
    """Copies a file, or the relevant files of a folder."""
    for name, file in list_files(source).items():
        place = target / name if name else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def read_inputs(folder: Path) -> list[Input]:
    """Returns the inputs in the folder of a run. Raises Refused if their index is damaged."""
    index = folder / INPUTS / INDEX
    try:
        return [Input(**fields) for fields in json.loads(index.read_bytes())] if index.exists() else []
    except (ValueError, TypeError) as error:
        raise Refused(f"{index} is damaged: {error}") from error


def game_files(inputs: Iterable[Input]) -> list[tuple[str, str]]:
    """Returns key and digest of the inputs of a game. They are equal for runs that play the same game."""
    return [(each.key, each.digest) for each in inputs if each.key.startswith("game.")]


def localise(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Returns a run's configuration with the paths of its copies, and notes on originals that have changed.

    Raises Refused if neither the copy nor the original has the content that the run began with.
    """
    local, notes = deepcopy(dict(config)), []
    for item in read_inputs(folder):
        path = find_input(item, folder)
        *sections, name = item.key.split(".")
        section = reduce(getitem, sections, local)
        section[name] = replace_path(section[name], item.text, str(path))
        if path != (origin := Path(item.origin)) and content_digest(origin) != item.digest:
            fate = "has changed" if origin.exists() else "is gone"
            notes.append(f"{item.key}: {origin} {fate}, and this run has what it was in {path}")
    return local, notes


def find_input(item: Input, folder: Path) -> Path:
    """Returns the path of an input whose content has not changed: its copy, or the original. Raises Refused."""
    for path in (folder / INPUTS / item.copy if item.copy else None, Path(item.origin)):
        if path is not None and content_digest(path) == item.digest:
            return path
    raise Refused(f"{item.key}: {item.origin} is not what {folder} began with, and there is no whole copy of it")


def replace_path(value: Any, text: str, path: str) -> Any:
    """Returns a value, or a list of values, with one path replaced."""
    if isinstance(value, str):
        return path if value == text else value.replace(f"filename={text}", f"filename={path}")
    return [replace_path(entry, text, path) for entry in value]


def declared_inputs(section: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """Yields the key and the text of all existing files and folders that are named in declared fields of a section.

    `place` is the prefix of keys.
    """
    kind = class_of(section["_target_"]) if "_target_" in section else None
    if is_dataclass(kind):
        for field in fields(kind):
            if "outside" in field.metadata:
                texts = dict.fromkeys(path_texts(section.get(field.name)))
                folders = field.metadata["outside"]
                yield from ((f"{place}{field.name}", text) for text in texts if is_input(text, folders))
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from declared_inputs(value, f"{place}{key}.")


def path_texts(value: Any) -> list[str]:
    """Returns the parts of a value that may be paths."""
    if isinstance(value, str):
        return OPENSPIEL_FILE.findall(value) or [value]
    return [text for entry in value for text in path_texts(entry)] if isinstance(value, list | tuple) else []


def is_input(text: str, folders: bool) -> bool:
    """Whether a text names a file with a suffix or, if `folders`, any file or folder."""
    path = Path(text)
    try:
        return path.exists() if folders else path.is_file() and bool(path.suffix)
    except (OSError, ValueError):  # too long, or with a null character
        return False


def list_files(path: Path) -> dict[str, Path]:
    """Returns the files below a path by relative name; of a run folder only those of the newest valid checkpoint."""
    if path.is_file():
        return {"": path}
    newest = checkpoint.newest_valid(path / "checkpoints")
    return {str(file.relative_to(path)): file for file in sorted((newest or path).rglob("*")) if file.is_file()}


def content_digest(path: Path) -> str:
    """Returns a digest of the names and content of a file, or of all files in a folder."""
    hasher = hashlib.sha256()
    for name, file in list_files(path).items():
        hasher.update(f"{name}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as content:
            while piece := content.read(2**20):
                hasher.update(piece)
    return hasher.hexdigest()
