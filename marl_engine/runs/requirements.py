"""Checks that the parts of a run are compatible, by the declared types of their parameters.

Examples are `ExactResponder.game: ExtensiveGame` and `TabularSpec.profile(game: ExtensiveGame)`. The argument must have
the members of the declared protocol, or be an instance of the declared class.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, get_args

from marl_engine.capabilities import (
    LACKS,
    AlgorithmResponder,
    CriticSpec,
    DifferentiableGame,
    ExtensiveGame,
    MatrixPreferenceGame,
    NumberedGame,
    PreferenceGame,
    TeamMarkovGame,
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
    TeamMarkovGame: ("game=coordination",),
    PreferenceGame: ("game=preference/tiny", "game=preference/sentiment"),
    MatrixPreferenceGame: ("game=preference/tiny",),
    TextPreferenceGame: ("game=preference/sentiment",),
    AlgorithmResponder: ("responder=rllib",),
    TrajectoryPreferenceGame: ("game=preference/control",),
    CriticSpec: ("policy=network",),
}
PRESETS = {  # the preset of a class
    "MLPSpec": "policy=network",
    "CNNSpec": "policy=cnn",
    "BoardSpec": "policy=board",
    "RecurrentSpec": "policy=gru",
    "TabularSpec": "policy=table",
    "BayesNetSpec": "policy=bayes_net",
    "SoftmaxTableSpec": "policy=logits",
    "EnumerableLMSpec": "policy=tiny",
    "TransformerSpec": "policy=language",
    "PPO": "responder=ippo",
    "SAC": "responder=off_policy",
    "QLearning": "responder=qmix",
    "RLlibResponder": "responder=rllib",
    "ExactResponder": "responder=exact",
    "GradientAscent": "responder=ascent",
    "PreferenceResponder": "responder=answers",
}


def check_parts(owner: str, types: Mapping[str, Any], **arguments: Any) -> None:
    """Raises Refused if an argument does not fit the declared type of the parameter with its name.

    `types` are declared types by name of parameter; `owner` is the class that declares them. The error names the
    missing capability, and presets that have it.
    """
    for name, argument in arguments.items():
        kind: Any = types.get(name)
        if kind in LACKS and (lack := lack_of(argument, kind, owner)):
            advice = f"; choose another, like {' or '.join(CHOICES[kind])}" if kind in CHOICES else ""
            raise Refused(f"{lack}{advice}")
        if lack := class_lack(argument, kind, owner):
            raise Refused(lack)


def class_lack(argument: Any, kind: Any, owner: str) -> str:
    """Returns a sentence if an argument is not an instance of the declared class or union, otherwise an empty text.

    Other types, such as protocols and generics, are not checked.
    """
    kinds = [option for option in (get_args(kind) if isinstance(kind, UnionType) else [kind]) if option is not NoneType]
    if not all(type(option) is type for option in kinds) or isinstance(argument, tuple(kinds)):
        return ""
    names = " or ".join(PRESETS.get(option.__name__, option.__name__) for option in kinds)
    return f"{owner} goes with {names}, not with {type(argument).__name__}"
