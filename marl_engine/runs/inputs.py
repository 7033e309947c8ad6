"""The files and folders outside that a run is made from: its folder keeps them as they were when it began.

A class declares which of its fields may name some: `payoffs: str | None = outside(None)`. They are copied to inputs/,
and the run goes on with the copies, whatever has become of the originals.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.configuration import class_of
from marl_engine.errors import Refused
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import replace

INPUTS, INDEX = "inputs", "inputs.json"
LARGEST = 64 * 2**20  # bytes that are copied; of what is larger, as language models are, only the digest is kept
OF_A_GAME = re.compile(r"\bfilename=([^,()]+)")  # how OpenSpiel's names of games name files


class Input(NamedTuple):
    """One file or folder."""

    key: str  # of the configuration, like "game.payoffs"
    text: str  # of its value, or a part of it
    origin: str  # the path that it stood for, from the root
    digest: str
    copy: str | None  # below inputs/; None: it was too large


def look(config: Mapping[str, Any]) -> list[Input]:
    """What a configuration names, as it is now."""
    inputs: list[Input] = []
    for key, text in named_in(config):
        path = Path(text).absolute()
        size = sum(file.stat().st_size for file in files_of(path).values())
        number = sum(each.key == key for each in inputs)
        place = f"{key}{f'.{number}' if number else ''}/{path.name}"
        inputs.append(Input(key, text, str(path), digest(path), place if size <= LARGEST else None))
    return inputs


def keep(inputs: list[Input], folder: Path) -> None:
    """Copies what `look` saw into the folder of a run. Raises Refused where it is another by now."""
    for each in inputs:
        source = Path(each.origin)
        target = source if each.copy is None else folder / INPUTS / each.copy
        if target != source:
            copy_files(source, target)
        if digest(target) != each.digest:
            raise Refused(f"{each.key}: {each.text} was changed while the run began; begin again")
    if inputs:
        (folder / INPUTS).mkdir(exist_ok=True)
        replace(folder / INPUTS / INDEX, json.dumps([each._asdict() for each in inputs], indent=2) + "\n")


def copy_files(source: Path, target: Path) -> None:
    """Copies a file, or what counts in a folder."""
    for name, file in files_of(source).items():
        place = target / name if name else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def kept_in(folder: Path) -> list[Input]:
    """What the folder of a run keeps. Raises Refused."""
    index = folder / INPUTS / INDEX
    try:
        return [Input(**each) for each in json.loads(index.read_bytes())] if index.exists() else []
    except (ValueError, TypeError) as error:
        raise Refused(f"{index} is damaged: {error}") from error


def localise(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """A run's configuration with the files that its folder keeps, and what has become of the originals.

    Raises Refused where neither the copy nor the original is what the run began with.
    """
    local, notes = deepcopy(dict(config)), []
    for each in kept_in(folder):
        path = place_of(each, folder)
        *sections, name = each.key.split(".")
        section = reduce(getitem, sections, local)
        section[name] = exchange(section[name], each.text, str(path))
        if path != (origin := Path(each.origin)) and digest(origin) != each.digest:
            fate = "has changed" if origin.exists() else "is gone"
            notes.append(f"{each.key}: {origin} {fate}, and this run has what it was in {path}")
    return local, notes


def place_of(each: Input, folder: Path) -> Path:
    """Where an input is, as it was: its copy, or what it was copied from. Raises Refused."""
    for path in (folder / INPUTS / each.copy if each.copy else None, Path(each.origin)):
        if path is not None and digest(path) == each.digest:
            return path
    raise Refused(f"{each.key}: {each.origin} is not what {folder} began with, and there is no whole copy of it")


def exchange(value: Any, text: str, path: str) -> Any:
    """A value with another path in it, also where it is a list."""
    if isinstance(value, str):
        return path if value == text else value.replace(f"filename={text}", f"filename={path}")
    return [exchange(each, text, path) for each in value]


def named_in(section: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of all files and folders that there are and that declared fields in a section name."""
    kind = class_of(section["_target_"]) if "_target_" in section else None
    if is_dataclass(kind):
        for each in fields(kind):
            if "outside" in each.metadata:
                texts = dict.fromkeys(texts_in(section.get(each.name)))
                yield from ((f"{place}{each.name}", text) for text in texts if is_there(text, each.metadata["outside"]))
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from named_in(value, f"{place}{key}.")


def texts_in(value: Any) -> list[str]:
    """What may be a path in the value of a field."""
    if isinstance(value, str):
        return OF_A_GAME.findall(value) or [value]
    return [text for each in value for text in texts_in(each)] if isinstance(value, list | tuple) else []


def is_there(text: str, folders: bool) -> bool:
    """Whether a text names a file, or a folder where it may; a file without an ending is meant by no name."""
    path = Path(text)
    try:
        return path.exists() if folders else path.is_file() and bool(path.suffix)
    except (OSError, ValueError):  # too long for a name, or with a zero in it
        return False


def files_of(path: Path) -> dict[str, Path]:
    """The files that count below a path, by their names from there: of a run those of its newest whole checkpoint."""
    if path.is_file():
        return {"": path}
    newest = checkpoint.newest_whole(path / "checkpoints")
    return {str(file.relative_to(path)): file for file in sorted((newest or path).rglob("*")) if file.is_file()}


def digest(path: Path) -> str:
    """Of what is in a file, or of all that is in a folder, and how it is called there."""
    whole = hashlib.sha256()
    for name, file in files_of(path).items():
        whole.update(f"{name}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as content:
            while piece := content.read(2**20):
                whole.update(piece)
    return whole.hexdigest()
