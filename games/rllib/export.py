"""Games as environments of RLlib, for its new API stack.

from ray.tune.registry import register_env
register_env("kitchen", lambda _: to_rllib(Overcooked()))
config = PPOConfig().environment("kitchen")
"""

from copy import deepcopy
from importlib import import_module
from typing import Any

from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.types import Game

FIRST = 3  # openings that are looked at to see whether all actions are legal
INSTALL = "needs RLlib: pip install 'marl_engine[rllib]', in an environment of its own"


def import_rllib(module: str, user: str) -> Any:
    """Returns a module of this package that imports RLlib, on behalf of `user`. Raises Refused without RLlib."""
    try:
        import_module("ray.rllib.algorithms.algorithm")
    except ImportError as error:  # Ray without what RLlib needs besides
        raise Refused(f"{user} {INSTALL} ({error})") from error
    return import_module(f"games.rllib.{module}")


def to_rllib(game: Game, *, masks: bool | None = None, flat: bool = False, shaping: float = 0.0) -> Any:
    """Returns a game as a `MultiAgentEnv`, which adds `shaping` times the shaping rewards to the rewards.

    Without `masks` given, observations have masks if an action of an opening is illegal or seats move in turn. With
    `flat`, observations are vectors of float32; otherwise RLlib takes those with three axes for pictures. Raises
    Refused if RLlib is not installed.
    """
    environment = import_rllib("environment", "to_rllib")
    opening = deepcopy(game).reset(derive_seeds(0, FIRST))
    masked = not bool(opening.acting.all() and opening.legal.all()) if masks is None else masks
    return environment.RLlibEnv(game, masked, flat, shaping)
