"""Weights of other runs: which checkpoint of a folder is taken, and whether it fits."""

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
    """Iteration and state of the best checkpoint of a run's folder, or of the newest where that one is gone.

    Raises FileNotFoundError where there is none.
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
    """Gives each seat's policy the weights of the same seat in another run. Raises Refused where they do not fit."""
    try:
        _, state = read_best(path)
    except FileNotFoundError as error:
        raise Refused(f"init={path} is not the folder of a run that has been saved: {error}") from error
    saved = state["profile"]
    if len(saved["seats"]) != len(profile):
        raise Refused(f"init={path} has {len(saved['seats'])} seats, and this game {len(profile)}")
    for policy, seats in group_by_policy(profile):
        weights = saved["policies"][saved["seats"][seats[0]]]
        if wrong := misfit(policy, weights):
            raise Refused(f"init={path} does not fit: {wrong}; take a run of the same game and policy")
        policy.load_state_dict(weights)


def misfit(policy: Policy, weights: dict[str, Tensor]) -> str:
    """The first difference between the shapes of a policy and of weights; empty where there is none."""
    here = {name: tuple(each.shape) for name, each in policy.state_dict().items()}
    there = {name: tuple(each.shape) for name, each in weights.items()}
    name = next((name for name in [*here, *there] if here.get(name) != there.get(name)), None)
    return "" if name is None else f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"


EVALUATION = "evaluation/"  # where the records of a run keep what was evaluated


def evaluations_of(folder: RunFolder) -> list[tuple[int, Metrics]]:
    """The iterations of a run in which it was evaluated, and what was measured then; at its end, too."""
    evaluations = {
        int(record["iteration"]): {
            name.removeprefix(EVALUATION): each for name, each in record.items() if name.startswith(EVALUATION)
        }
        for record in folder.records()
        if any(name.startswith(EVALUATION) for name in record)
    }
    summary = folder.summary()
    return sorted((evaluations | ({summary["iterations"]: summary} if summary else {})).items())
