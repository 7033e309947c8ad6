"""Reads weights and evaluations of other runs.

A run is named by its folder, and a part of it by an address: runs/NAME@last is its newest checkpoint, runs/NAME@120
that of iteration 120, and runs/NAME@member_3 a member of its population.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from marl_engine.errors import Refused, choice, excerpt
from marl_engine.evaluation.scores import best_of, score_of
from marl_engine.policies.weights import (
    copy_with_profile_state,
    copy_with_weights,
    load_profile_state,
)
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import RunFolder
from marl_engine.types import Metrics, Profile

BEST, LAST, MEMBER = "best", "last", "member_"


def split_address(address: str | Path) -> tuple[Path, str]:
    """Returns the folder that an address names, and what of it: "best" if it is that of a run without a part."""
    text = str(address)
    if "@" not in text or Path(text).exists():
        return Path(text), BEST
    folder, _, part = text.rpartition("@")
    return Path(folder), part or BEST


def read_state(path: Path, part: str) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of a checkpoint of a run: best, last, or an iteration; the newest one for a member.

    Raises Refused for one that does not exist, and FileNotFoundError if nothing has been saved.
    """
    if part == BEST:
        return read_best(path)
    return read_checkpoint(RunFolder(path), LAST if part.startswith(MEMBER) else part)


def select_profile(profile: Profile, state: Mapping[str, Any], path: Path, part: str) -> Profile:
    """Returns a profile with the weights of a checkpoint, or a member of its population; see `read_state`.

    `profile` has new policies of the run's kind. Raises Refused for an unknown member, and ValueError for weights of
    other policies.
    """
    if not part.startswith(MEMBER):
        load_profile_state(profile, state["profile"])
        return profile
    members = copy_members(profile, state, path)
    names = [f"{MEMBER}{number}" for number in range(len(members))]
    if part not in names:
        raise Refused(f"{path} has no {part}; choose from {choice(part, names)}")
    return members[names.index(part)]


def copy_members(profile: Profile, state: Mapping[str, Any], path: Path) -> list[Profile]:
    """Returns the members of the population in the state of a run: frozen copies of policies with their weights.

    Member k consists of the k-th policy of every seat. A seat with fewer repeats its last one. Raises Refused if there
    is no population, and ValueError for weights of other policies.
    """
    population = (state.get("solver") or {}).get("population")
    if not population or not any(population["members"]):
        raise Refused(f"{path} has no population; use a run of solver=psro, fcp or league")
    sides = population["members"]
    return [
        [
            copy_with_weights(policy, side[min(number, len(side) - 1)])
            for policy, side in zip(profile, sides, strict=True)
        ]
        for number in range(max(map(len, sides)))
    ]


def read_best(path: Path) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of a run's best checkpoint, or of the newest one if that is damaged or unknown.

    Raises FileNotFoundError if there is none.
    """
    folder = RunFolder(path)
    folder.check_layout()
    with suppress(checkpoint.Damaged, FileNotFoundError):
        iteration = find_best(folder)
        return iteration, checkpoint.read(folder.checkpoints / f"{iteration:08d}")
    return folder.latest()[:2]


def load_saved_profile(folder: Path, profile: Profile, key: str) -> Profile:
    """Returns the frozen profile of a run's newest checkpoint; its policies are of the kinds in `profile`, or mixtures.

    `key` is the name by which the user knows the folder. Raises ValueError.
    """
    try:
        _, state, _ = RunFolder(folder).latest()
        return copy_with_profile_state(profile, state["profile"])
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(f"{key}={folder} is not a run with such policies: {excerpt(str(error))}") from error


EVALUATION = "evaluation/"  # prefix of evaluation metrics in records


def evaluations_of(folder: RunFolder) -> list[tuple[int, Metrics]]:
    """Returns the iterations in which a run was evaluated, with the metrics, including those of its summary."""
    evaluations = {
        int(record["iteration"]): {
            name.removeprefix(EVALUATION): each for name, each in record.items() if name.startswith(EVALUATION)
        }
        for record in folder.records()
        if any(name.startswith(EVALUATION) for name in record)
    }
    summary = folder.summary()
    last = {summary["iterations"]: summary} if score_of(summary) else {}  # an interrupted run may end without a score
    return sorted((evaluations | last).items())


def read_checkpoint(folder: RunFolder, name: str) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of the checkpoint `name`: last, best or an iteration. Raises Refused."""
    options = ["last", "best", *(str(int(path.name)) for path in checkpoint.newest_first(folder.checkpoints))]
    if name not in options:
        raise Refused(f"{folder.path} has no checkpoint={name}; choose from {choice(name, options)}")
    try:
        if name == "last":
            return folder.latest()[:2]
        iteration = find_best(folder) if name == "best" else int(name)
        return iteration, checkpoint.read(folder.checkpoints / f"{iteration:08d}")
    except (checkpoint.Damaged, FileNotFoundError) as error:
        raise Refused(f"{error}; choose another checkpoint= from {choice(name, options)}") from error


def find_best(folder: RunFolder) -> int:
    """Returns the best evaluated iteration. Raises FileNotFoundError if there was no evaluation."""
    best = best_of(evaluations_of(folder))
    if best is None:
        raise FileNotFoundError(f"{folder.path} has evaluated nothing yet")
    return best.iteration
