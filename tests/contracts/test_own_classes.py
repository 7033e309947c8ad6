"""A user's own game, solver and policy need no change here: `_target_` names the class."""

from dataclasses import dataclass

import pytest
import torch
from toys import Matrix

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.policies.mlp import MLPSpec
from marl_engine.runs.factory import build

SMALL = (
    "steps=100",
    "responder.num_envs=4",
    "responder.rollout_length=4",
    "responder.minibatches=1",
    "policy.hidden=[8]",
)


@dataclass
class Coordination(Matrix):
    """All seats earn 1 if all choose the same of `choices` actions."""

    payoff: torch.Tensor = None
    choices: int = 3
    device: str = "cpu"

    def __post_init__(self):
        self.payoff = torch.eye(self.choices)
        super().__post_init__()


@dataclass
class Wide(MLPSpec):
    """A policy with a key of its own."""

    width: int = 16


def test_own_game_takes_the_place_of_a_presets():
    config = compose_config(
        "train", ["game=overcooked", "game._target_=test_own_classes.Coordination", "game.choices=4", *SMALL]
    )
    assert config["game"] == {"_target_": "test_own_classes.Coordination", "choices": 4}
    parts = build(config)
    progress = next(iter(parts.solver.solve(parts.profile, parts.responder)))
    assert parts.game.actions == 4
    assert 0 <= progress.metrics["return/mean"] <= 1


def test_a_custom_policy_keeps_the_preset_keys_that_it_accepts():
    config = compose_config(
        "train", ["game=overcooked", "policy._target_=test_own_classes.Wide", "policy.width=5", *SMALL]
    )
    assert config["policy"]["hidden"] == [8]
    assert config["policy"]["width"] == 5


def test_key_that_the_own_class_does_not_have_is_refused():
    config = compose_config(
        "train", ["game=overcooked", "game._target_=test_own_classes.Coordination", "game.size=4", *SMALL]
    )
    with pytest.raises(Refused, match=r"there is no key game\.size; choose from .*game\.choices"):
        instantiate("game", config["game"], device="cpu")
