"""Weights of other runs: which checkpoint of a folder is taken, and whether it fits."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from marl_engine import checkpoint
from marl_engine.errors import Refused
from marl_engine.evaluate import best_of, evaluations_of
from marl_engine.folder import Folder
from marl_engine.play import tables
from marl_engine.types import Policy, Profile


def read_best(path: Path) -> tuple[int, dict[str, Any]]:
    """Iteration and state of the best checkpoint of a run's folder, or of the newest where that one is gone.

    Raises FileNotFoundError where there is none.
    """
    folder = Folder(path)
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
    for policy, seats in tables(profile):
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
