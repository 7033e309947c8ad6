"""Whether the parts of a run go together: each declares what it needs by the types of its parameters.

`ExactResponder.game: ExtensiveGame`, `TabularSpec.profile(game: ExtensiveGame)`: a part that is handed over must have
the members of the protocol, or be of the class, that the parameter of its name declares.
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

CHOICES: dict[Any, tuple[str, ...]] = {  # presets that have a capability
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
PRESETS = {  # what to write on the command line for a class
    "MLPSpec": "policy=network",
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
    """Raises Refused where an argument is not what `asker` declares the parameter of its name to be.

    The sentence names the capability that is missing, and presets that have it.
    """
    for name, argument in arguments.items():
        needed: Any = types.get(name)
        if needed in CHOICES and (lack := lack_of(argument, needed, asker)):
            raise Refused(f"{lack}; choose another, like {' or '.join(CHOICES[needed])}")
        if lack := class_lack(argument, needed, asker):
            raise Refused(lack)


def class_lack(argument: Any, needed: Any, asker: str) -> str:
    """A sentence where an argument is of none of the classes that are needed; empty where it is, or there are none."""
    kinds = [each for each in (get_args(needed) if isinstance(needed, UnionType) else [needed]) if each is not NoneType]
    if not all(type(each) is type for each in kinds) or isinstance(argument, tuple(kinds)):
        return ""
    names = " or ".join(PRESETS.get(each.__name__, each.__name__) for each in kinds)
    return f"{asker} goes with {names}, not with {type(argument).__name__}"
