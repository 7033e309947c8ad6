"""Trained runs as entrants: which runs and checkpoints a word names, and their policies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.runs.factory import make_profile
from marl_engine.runs.folder import nearby_runs
from marl_engine.runs.saved_weights import (
    BEST,
    LAST,
    MEMBER,
    copy_members,
    read_state,
    select_profile,
    split_address,
)
from marl_engine.tournaments.answers import is_adapter
from marl_engine.tournaments.entrants import Entrant, make_entrant
from marl_engine.tournaments.people import Partner
from marl_engine.types import Game

POPULATION = "population"


class RunEntry(NamedTuple):
    """A run that enters, with one of its checkpoints, a member of its population, or all members."""

    path: Path
    part: str
    name: str


class LoadedRun(NamedTuple):
    """The entrants of a run, and what is needed to find its games with people; None for a whole population."""

    entrants: list[Entrant]
    partner: Partner | None = None


def list_runs(word: str) -> list[RunEntry]:
    """Returns the runs that a word names; none if it names something else. Raises Refused for a path without runs."""
    folder, part = split_address(word)
    text = word.removesuffix(f"@{part}")
    if is_adapter(folder):
        return []
    if not folder.is_dir():
        if "/" in text and ":" not in text:
            raise Refused(f"there is no run at {text!r}{nearby_runs(folder)}")
        return []
    inside = [folder] if (folder / "config.yaml").is_file() else sorted(f.parent for f in folder.rglob("config.yaml"))
    if not inside:
        raise Refused(f"there is no run in {text}")
    return [RunEntry(path, part, "") for path in inside]


def name_runs(entries: Sequence[RunEntry]) -> dict[RunEntry, RunEntry]:
    """Returns the runs with different names: those of their folders, or their whole paths."""
    short = {entry: entry.path.resolve().name for entry in entries}
    paths: dict[str, set[Path]] = {}
    for entry, name in short.items():
        paths.setdefault(name, set()).add(entry.path.resolve())
    named = {}
    for entry, name in short.items():
        text = name if len(paths[name]) == 1 else str(entry.path)
        is_plain = entry.part in (BEST, POPULATION)  # the members of a population have numbers
        named[entry] = entry._replace(name=text if is_plain else f"{text}@{entry.part}")
    return named


def load_run(entry: RunEntry, config: Mapping[str, Any], game: Game) -> LoadedRun:
    """Returns the entrants of a run: one, or the members of its population. Raises Refused."""
    profile = make_profile(instantiate("policy", config["policy"]), game)
    kind = json.dumps(config["policy"], sort_keys=True)
    try:
        iteration, state = read_state(entry.path, LAST if entry.part == POPULATION else entry.part)
        origin = f"{entry.path}, iteration {iteration}"
        if entry.part == POPULATION:
            members = enumerate(copy_members(profile, state, entry.path))
            return LoadedRun([make_entrant(f"{entry.name}@{MEMBER}{k}", origin, kind, each) for k, each in members])
        entrant = make_entrant(entry.name, origin, kind, select_profile(profile, state, entry.path, entry.part))
    except Refused:
        raise
    except FileNotFoundError as error:
        raise Refused(f"{entry.path} has not saved anything yet: {error}") from error
    except ValueError as error:
        raise Refused(f"{entry.path} cannot enter: {error}") from error
    member = entry.part if entry.part.startswith(MEMBER) else ""
    return LoadedRun([entrant], Partner(entry.path, iteration, entrant.digest, member))
