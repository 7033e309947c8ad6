"""Checks that the parts of a run go together, by the declared types of their parameters.

For example `ExactResponder.game: ExtensiveGame` and `TabularSpec.profile(game: ExtensiveGame)`: the argument must have
the members of the protocol, or be an instance of the class, that the parameter declares.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, get_args

from marl_engine.capabilities import (
    CriticSpec,
    DifferentiableGame,
    ExtensiveGame,
    MatrixPreferenceGame,
    NumberedGame,
    PreferenceGame,
    TextPreferenceGame,
    TrajectoryPreferenceGame,
    TreeGame,
    lack_of,
)
from marl_engine.errors import Refused
from marl_engine.types import Game

CHOICES: dict[Any, tuple[str, ...]] = {  # presets with a capability
    Game: ("game=overcooked", "game=kuhn_poker"),
    NumberedGame: ("game=kuhn_poker", "game=iterated_prisoners_dilemma"),
    ExtensiveGame: ("game=kuhn_poker", "game=matrix"),
    TreeGame: ("game=kuhn_poker", "game=leduc_poker"),
    DifferentiableGame: ("game=iterated_prisoners_dilemma",),
    PreferenceGame: ("game=preference/tiny", "game=preference/sentiment"),
    MatrixPreferenceGame: ("game=preference/tiny",),
    TextPreferenceGame: ("game=preference/sentiment",),
    TrajectoryPreferenceGame: ("game=preference/control",),
    CriticSpec: ("policy=network",),
}
PRESETS = {  # the preset of a class
    "MLPSpec": "policy=network",
    "CNNSpec": "policy=cnn",
    "RecurrentSpec": "policy=gru",
    "TabularSpec": "policy=table",
    "SoftmaxTableSpec": "policy=logits",
    "EnumerableLMSpec": "policy=tiny",
    "TransformerSpec": "policy=language",
    "PPO": "responder=ippo",
    "SAC": "responder=off_policy",
    "ExactResponder": "responder=exact",
    "GradientAscent": "responder=ascent",
    "PreferenceResponder": "responder=answers",
}


def check_parts(asker: str, types: Mapping[str, Any], **arguments: Any) -> None:
    """Raises Refused if an argument does not fit the declared type of the parameter with its name.

    The error names the missing capability, and presets that have it.
    """
    for name, argument in arguments.items():
        expected: Any = types.get(name)
        if expected in CHOICES and (lack := lack_of(argument, expected, asker)):
            raise Refused(f"{lack}; choose another, like {' or '.join(CHOICES[expected])}")
        if lack := class_lack(argument, expected, asker):
            raise Refused(lack)


def class_lack(argument: Any, expected: Any, asker: str) -> str:
    """Returns a sentence if an argument is not an instance of the expected classes, otherwise an empty text."""
    kinds = [
        each for each in (get_args(expected) if isinstance(expected, UnionType) else [expected]) if each is not NoneType
    ]
    if not all(type(each) is type for each in kinds) or isinstance(argument, tuple(kinds)):
        return ""
    names = " or ".join(PRESETS.get(each.__name__, each.__name__) for each in kinds)
    return f"{asker} goes with {names}, not with {type(argument).__name__}"
