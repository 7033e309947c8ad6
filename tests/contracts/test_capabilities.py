"""Capabilities are declared by the members of a game, and requirements by the types of parameters."""

from dataclasses import dataclass

import pytest
import torch
from contracts import parts
from toys import Walk

from marl_engine.capabilities import Drawable, capabilities_of, lack_of
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.runs.factory import build
from marl_engine.runs.requirements import CHOICES, PRESETS
from marl_engine.spaces import ActionSpace, Spaces

NUMBERS = {"tree", "extensive", "numbered"}
DECLARED = {
    "overcooked": {"spaces", "drawable", "bots"},
    "kuhn_poker": {"spaces", "narrated", "tabulated", *NUMBERS},
    "matrix": {"spaces", *NUMBERS} - {"tree"},
    "iterated_prisoners_dilemma": {"spaces", "numbered"},
    "control": {"spaces"},
    "pettingzoo": {"spaces", "drawable", "described", "metered"},
    "preference/control": {"spaces"},
    "preference/tiny": {"spaces", *NUMBERS} - {"tree"},
    "preference/sentiment": {"text_preference", "metered"},
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_games_can_do(name):
    section = compose_config("train", [f"game={name}"])["game"]
    able = capabilities_of(instantiate("game", section, device="cpu"))
    assert {capability for capability, each in able._asdict().items() if each is not None} == DECLARED[name]


def test_a_plain_class_with_the_methods_of_a_game_is_a_game():
    able = capabilities_of(Walk())
    assert able.spaces == Spaces((1,), ActionSpace(2))
    assert all(each is None for each in able[1:])
    assert lack_of(Walk(), Drawable, "A picture") == "Walk does not draw itself: A picture needs `render`"


def test_a_pendulum_has_numbers_for_actions():
    action = parts(game="control").game.spaces.action
    assert action.is_box
    assert (action.low.tolist(), action.high.tolist()) == ([-2.0], [2.0])


@dataclass
class Differentiable(Walk):
    """A walk without the method of differentiable games, but with their features."""

    features = torch.eye(1)


def test_the_sentence_names_the_class_of_the_user_and_the_member_that_is_missing():
    words = ["game=overcooked", "game._target_=test_capabilities.Differentiable", "policy=logits", "responder=ascent"]
    with pytest.raises(Refused, match=r"^Differentiable is not differentiable: GradientAscent needs `values`; choose"):
        build(compose_config("train", words))


def test_presets_that_sentences_name_exist_and_have_the_capability():
    for protocol, choices in CHOICES.items():
        for group, name in (choice.split("=") for choice in choices):
            assert not lack_of(part(group, name), protocol, "a test")
    for kind, choice in PRESETS.items():
        group, name = choice.split("=")
        assert compose_config("train", ["game=overcooked", f"{group}={name}"])[group]["_target_"].endswith(f".{kind}")


def part(group, name):
    """Builds the object of a preset."""
    words = [f"game={name}"] if group == "game" else ["game=overcooked", f"{group}={name}"]
    config = compose_config("train", words)
    if group == "responder":
        return build(config).responder
    return instantiate(group, config[group], **({"device": "cpu"} if group == "game" else {}))
