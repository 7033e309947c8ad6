"""From a configuration to the objects it names: `_target_` is the class, the other keys are its fields."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from marl_engine.types import Game, Profile, Responder, Runner, Solver


class Refused(ValueError):
    """The configuration asks for something that cannot be; the message says what could."""


def choice(name: object, options: object) -> str:
    """The options as text, those nearest to `name` first."""
    known = [str(option) for option in options]  # type: ignore[attr-defined]
    near = get_close_matches(str(name), known, n=3, cutoff=0.4)
    return ", ".join(near + sorted(option for option in known if option not in near))


def class_of(target: str) -> type:
    """The class that a dotted name stands for. Raises Refused."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"_target_ {target!r} is not an importable class: {error}") from error


def checked(values: Mapping[str, Any], kind: type, place: str) -> dict[str, Any]:
    """The values, converted to the types of a dataclass's fields. Raises Refused for an unknown key or a wrong type."""
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.init]  # type: ignore[arg-type]
    found = {}
    for key, value in values.items():
        if key not in names:
            raise Refused(f"there is no key {place}{key}; choose from {choice(key, names)}")
        try:
            found[key] = TypeAdapter(types[key], config={"arbitrary_types_allowed": True}).validate_python(value)
        except ValidationError as error:
            wanted = "; or ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            raise Refused(f"{place}{key}={value!r}: {wanted[0].lower()}{wanted[1:]}") from error
    return found


def make(section: str, values: Mapping[str, Any], **parts: Any) -> Any:
    """The object of a config section; `parts` are arguments that are no configuration. Raises Refused."""
    arguments = dict(values)
    kind = class_of(arguments.pop("_target_"))
    if is_dataclass(kind):
        arguments = checked(arguments, kind, f"{section}.")
    try:
        return kind(**arguments, **parts)
    except ValueError as error:
        raise Refused(str(error)) from error


@dataclass
class Setting:
    """The parts of a run, made from its configuration."""

    game: Game
    profile: Profile
    responder: Responder
    solver: Solver
    runner: Runner


def setting(config: Mapping[str, Any]) -> Setting:
    """Everything that a run needs. Seeds torch, so that the first policies are a function of the seed."""
    torch.manual_seed(config["seed"])
    if torch.device(config["device"]).type == "cuda" and not torch.cuda.is_available():
        raise Refused("device=cuda: torch finds no CUDA device here; use device=cpu")
    game = make("game", config["game"], device=config["device"])
    network = make("policy", config["policy"])
    profile = network.profile(game)
    for policy in profile:
        policy.to(config["device"])
    responder = make(
        "responder", config["responder"], game=game, network=network, seed=config["seed"], device=config["device"]
    )
    return Setting(game, profile, responder, make("solver", config["solver"]), make("runner", config["runner"]))


def policies_state(profile: Profile) -> dict[str, Any]:
    """The weights of the different policies of a profile, and which seat has which."""
    different = list(dict.fromkeys(profile))
    return {
        "policies": [policy.state_dict() for policy in different],
        "seats": [different.index(policy) for policy in profile],
    }


def load_policies(profile: Profile, state: Mapping[str, Any]) -> None:
    """Puts saved weights into a profile made from the same configuration."""
    for policy, weights in zip(dict.fromkeys(profile), state["policies"], strict=True):
        policy.load_state_dict(weights)
