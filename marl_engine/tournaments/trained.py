"""Trained runs as entrants: which runs and checkpoints a word names, and their policies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.policies.weights import copy_with_weights, load_profile_state
from marl_engine.runs.factory import make_profile
from marl_engine.runs.folder import RunFolder, nearby_runs
from marl_engine.runs.saved_weights import read_best, read_checkpoint
from marl_engine.tournaments.answers import is_adapter
from marl_engine.tournaments.entrants import Entrant, make_entrant
from marl_engine.tournaments.people import Partner
from marl_engine.types import Game, Profile

BEST, LAST, POPULATION = "best", "last", "population"


class RunEntry(NamedTuple):
    """A run that enters, with one of its checkpoints."""

    path: Path
    checkpoint: str
    name: str


class LoadedRun(NamedTuple):
    """The entrants of a run, and what is needed to find its games with people; None for a population."""

    entrants: list[Entrant]
    partner: Partner | None = None


def list_runs(word: str) -> list[RunEntry]:
    """Returns the runs that a word names; none if it names something else. Raises Refused for a path without runs."""
    text, _, checkpoint = word.rpartition("@") if not Path(word).exists() and "@" in word else (word, "", "")
    folder = Path(text)
    if is_adapter(folder):
        return []
    if not folder.is_dir():
        if "/" in text and ":" not in text:
            raise Refused(f"there is no run at {text!r}{nearby_runs(folder)}")
        return []
    inside = [folder] if (folder / "config.yaml").is_file() else sorted(f.parent for f in folder.rglob("config.yaml"))
    if not inside:
        raise Refused(f"there is no run in {text}")
    return [RunEntry(path, checkpoint or BEST, "") for path in inside]


def name_runs(entries: Sequence[RunEntry]) -> dict[RunEntry, RunEntry]:
    """Returns the runs with different names: those of their folders, or their whole paths."""
    short = {entry: entry.path.resolve().name for entry in entries}
    paths: dict[str, set[Path]] = {}
    for entry, name in short.items():
        paths.setdefault(name, set()).add(entry.path.resolve())
    named = {}
    for entry, name in short.items():
        text = name if len(paths[name]) == 1 else str(entry.path)
        named[entry] = entry._replace(name=text if entry.checkpoint == BEST else f"{text}@{entry.checkpoint}")
    return named


def load_run(entry: RunEntry, config: Mapping[str, Any], game: Game) -> LoadedRun:
    """Returns the entrants of a run: one, or the members of its population. Raises Refused."""
    profile = make_profile(instantiate("policy", config["policy"]), game)
    kind = json.dumps(config["policy"], sort_keys=True)
    iteration, state = read_state(entry)
    origin = f"{entry.path}, iteration {iteration}"
    if entry.checkpoint == POPULATION:
        return LoadedRun(load_population(entry, profile, state, kind, origin))
    try:
        load_profile_state(profile, state["profile"])
    except ValueError as error:
        raise Refused(f"{entry.path} cannot enter: {error}") from error
    entrant = make_entrant(entry.name, origin, kind, profile)
    return LoadedRun([entrant], Partner(entry.path, iteration, entrant.digest))


def read_state(entry: RunEntry) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of the checkpoint of a run; the newest one for its population. Raises Refused."""
    if entry.checkpoint != BEST:
        name = LAST if entry.checkpoint == POPULATION else entry.checkpoint
        return read_checkpoint(RunFolder(entry.path), name)
    try:
        return read_best(entry.path)
    except FileNotFoundError as error:
        raise Refused(f"{entry.path} has not saved anything yet: {error}") from error


def load_population(
    entry: RunEntry, profile: Profile, state: Mapping[str, Any], kind: str, origin: str
) -> list[Entrant]:
    """Returns the members of the population in a checkpoint; member k consists of the k-th policy of every seat.

    A seat with fewer members repeats its last one. Raises Refused if there is no population.
    """
    population = (state.get("solver") or {}).get("population")
    if not population:
        raise Refused(f"{entry.path} has no population; use a run of solver=psro, or leave out @{POPULATION}")
    members = population["members"]
    return [
        make_entrant(
            f"{entry.name.removesuffix(f'@{POPULATION}')}#{number}",
            f"{origin}, member {number} of its population",
            kind,
            [
                copy_with_weights(policy, each[min(number, len(each) - 1)])
                for policy, each in zip(profile, members, strict=True)
            ],
        )
        for number in range(max(map(len, members)))
    ]
