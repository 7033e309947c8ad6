"""From a configuration to the objects it names: `_target_` is the class, the other keys are its fields."""

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from marl_engine.classes import class_of
from marl_engine.errors import Refused, unknown
from marl_engine.folder import Folder
from marl_engine.inputs import localise
from marl_engine.judging import in_words
from marl_engine.reference import frozen
from marl_engine.types import Game, Metrics, Profile, Responder, Runner, Solver
from marl_engine.weights import warm_start

LIST = "a list, like [64,64]"
DOES = {
    "game": ("step", "prefers"),  # one of them
    "policy": ("profile",),
    "responder": ("respond",),
    "solver": ("solve",),
    "runner": ("map",),
    "judge": ("prefers",),
}


def declared_types(kind: type) -> dict[str, Any]:
    """The types that a class declares for what it is made from; none where its annotations cannot be read."""
    try:
        return get_type_hints(kind if is_dataclass(kind) else kind.__init__)  # type: ignore[misc]
    except NameError:  # a name that only a type checker imports
        return {}


def converter(kind: Any) -> TypeAdapter[Any]:
    """What converts values to a declared type."""
    return TypeAdapter(kind, config={"arbitrary_types_allowed": True})


def fits(kind: Any, value: Any) -> bool:
    """Whether a value can be converted to a declared type."""
    try:
        converter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def checked(values: Any, kind: type, place: str, apart: Container[str] = ()) -> dict[str, Any]:
    """The values, converted to the types of a dataclass's fields other than `apart`.

    Raises Refused for an unknown key or a wrong type.
    """
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.init and field.name not in apart]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise Refused(f"{place.rstrip('.')} must have the keys {', '.join(names)}, not be {values!r}")
    found = {}
    for key, value in values.items():
        if key not in names:
            raise unknown(key, place, names)
        if isinstance(value, float) and math.isnan(value):
            raise Refused(f"{place}{key} must be a number, not {value}")
        try:
            found[key] = converter(types[key]).validate_python(value)
        except ValidationError as error:
            wanted = "; or ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            wanted = wanted.replace("'str' instances are not allowed as a Sequence value", f"Input should be {LIST}")
            wanted = wanted.replace("an instance of Sequence", LIST)
            raise Refused(f"{place}{key}={value!r}: {wanted[0].lower()}{wanted[1:]}") from error
    return found


def make(section: str, values: Mapping[str, Any], **parts: Any) -> Any:
    """The object of a config section; `parts` are arguments that are no configuration. Raises Refused."""
    target = values.get("_target_")
    arguments = {key: value for key, value in values.items() if key != "_target_"}
    kind = class_of(target)
    noun = section.rpartition(".")[2]
    if not any(hasattr(kind, name) for name in DOES[noun]):
        raise Refused(f"{section}._target_ {target!r} is no {noun}: it has no {' or '.join(DOES[noun])}")
    if is_dataclass(kind):
        arguments = checked(arguments, kind, f"{section}.", apart=parts)
    try:
        return kind(**arguments, **parts)
    except (ValueError, TypeError) as error:
        place = "" if any(name in str(error) for name in (*arguments, f"{section}=")) else f"{section}: "
        raise Refused(f"{place}{error}") from error


def check_device(name: str) -> None:
    """Raises Refused when a name is neither the processor nor a GPU that is here."""
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or name.endswith(":"):
        raise Refused(f"device must be one of cpu, cuda, cuda:0, cuda:1, …, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise Refused(f"device={name}: torch finds {torch.cuda.device_count()} CUDA devices here; use device=cpu")


@dataclass
class Setting:
    """The parts of a run, made from its configuration."""

    game: Game
    profile: Profile
    responder: Responder
    solver: Solver
    runner: Runner
    reference: Profile  # the profile as it was at first
    costs: Callable[[], Metrics] = dict  # what a judge has been paid for in all sessions, if there is one


def setting(config: Mapping[str, Any]) -> Setting:
    """Everything that a run needs. Seeds torch, so that the first policies are a function of the seed."""
    torch.manual_seed(config["seed"])
    check_device(config["device"])
    game = make("game", config["game"], device=config["device"])
    network = make("policy", config["policy"])
    try:
        profile = network.profile(game)
    except ValueError as error:
        raise Refused(str(error)) from error
    if config.get("init"):
        warm_start(profile, Path(config["init"]))
    for policy in profile:
        policy.to(config["device"])
    responder = make(
        "responder", config["responder"], game=game, network=network, seed=config["seed"], device=config["device"]
    )
    solver = make("solver", config["solver"])
    try:
        solver.solve(profile, responder)  # never begun: only to learn whether they go together
    except ValueError as error:
        raise Refused(str(error)) from error
    parts = Setting(game, profile, responder, solver, make("runner", config["runner"]), frozen(profile))
    if in_words(game):
        parts.costs = responder.costs
    return parts


def kept_config(folder: Folder) -> dict[str, Any]:
    """The configuration of a run, with the files and first weights that its folder keeps. Raises Refused, OSError."""
    config, _ = localise(folder.config(), folder.path)
    return {**config, "init": str(folder.path / "initial") if config.get("init") else None}


def saved_setting(folder: Folder) -> Setting:
    """The setting of a run with the profile of its newest checkpoint. Raises Refused, FileNotFoundError."""
    made = setting(kept_config(folder))
    _, state, _ = folder.latest()
    load_policies(made.profile, state["profile"])
    return made


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
