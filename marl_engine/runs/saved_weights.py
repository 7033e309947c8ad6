"""Reads weights and evaluations of other runs."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from marl_engine.errors import Refused
from marl_engine.evaluation.scores import best_of
from marl_engine.rollout.rollout import group_by_policy
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import RunFolder
from marl_engine.types import Metrics, Policy, Profile


def read_best(path: Path) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of a run's best checkpoint, or of the newest one if that is damaged.

    Raises FileNotFoundError if there is none.
    """
    folder = RunFolder(path)
    folder.check_layout()
    best = best_of(evaluations_of(folder))
    if best is not None:
        with suppress(checkpoint.Damaged):
            return best.iteration, checkpoint.read(folder.checkpoints / f"{best.iteration:08d}")
    iteration, state, _ = folder.latest()
    return iteration, state


def warm_start(profile: Profile, path: Path) -> None:
    """Loads the weights of each seat's policy from another run. Raises Refused if they do not fit."""
    try:
        _, state = read_best(path)
    except FileNotFoundError as error:
        raise Refused(f"init={path} is not the folder of a run that has been saved: {error}") from error
    profile_weights = state["profile"]
    if len(profile_weights["seats"]) != len(profile):
        raise Refused(f"init={path} has {len(profile_weights['seats'])} seats, and this game {len(profile)}")
    for policy, seats in group_by_policy(profile):
        weights = profile_weights["policies"][profile_weights["seats"][seats[0]]]
        if wrong := weight_mismatch(policy, weights):
            raise Refused(f"init={path} does not fit: {wrong}; take a run of the same game and policy")
        policy.load_state_dict(weights)


def weight_mismatch(policy: Policy, weights: dict[str, Tensor]) -> str:
    """Returns the first difference in shape between a policy and weights; empty if they fit."""
    here = {name: tuple(each.shape) for name, each in policy.state_dict().items()}
    there = {name: tuple(each.shape) for name, each in weights.items()}
    name = next((name for name in [*here, *there] if here.get(name) != there.get(name)), None)
    return "" if name is None else f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"


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
    return sorted((evaluations | ({summary["iterations"]: summary} if summary else {})).items())
