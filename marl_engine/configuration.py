"""Creates objects from configuration sections, whose `_target_` names a class."""

import math
from collections.abc import Container, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from marl_engine.errors import Refused, unknown


def class_of(target: object) -> type:
    """Imports the class with a dotted name. Raises Refused."""
    module, _, name = str(target).rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"_target_ {target!r} is not an importable class: {error}") from error
    if not isinstance(kind, type):
        raise Refused(f"_target_ {target!r} is not a class")
    return kind


def outside(default: Any = MISSING, *, folders: bool = True) -> Any:
    """Declares a dataclass field that may name a file, or with `folders` also a folder.

    Other values of the field are allowed.
    """
    return field(default=default, metadata={"outside": folders})


LIST = "a list, like [64,64]"
REQUIRED_METHODS = {
    "game": ("step", "prefers"),  # one of them
    "policy": ("profile",),
    "responder": ("respond",),
    "solver": ("solve",),
    "runner": ("map",),
    "judge": ("prefers",),
    "levels": ("draw",),
}


@cache
def declared_types(kind: Any) -> dict[str, Any]:
    """Returns the declared types of a function's parameters, or of those of a class.

    The result is empty if they cannot be read.
    """
    try:
        return get_type_hints(kind.__init__ if isinstance(kind, type) and not is_dataclass(kind) else kind)  # type: ignore[misc]
    except NameError:  # a name that only a type checker imports
        return {}


@runtime_checkable
class PresetAdviser(Protocol):
    """A class that knows for which values another preset suits better."""

    @staticmethod
    def better_preset(values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Returns the name of the preset, and why; None if there is none."""


def better_preset(section: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns the preset that suits the values of a section better than its own, and why; None if there is none."""
    kind = class_of(section.get("_target_"))
    return kind.better_preset(section) if issubclass(kind, PresetAdviser) else None


def converter(kind: Any) -> TypeAdapter[Any]:
    """Returns a converter to a declared type."""
    return TypeAdapter(kind, config={"arbitrary_types_allowed": True})


def fits(kind: Any, value: Any) -> bool:
    """Whether a value can be converted to a declared type."""
    try:
        converter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def check_keys(values: Any, kind: type, place: str, excluded: Container[str] = ()) -> None:
    """Raises Refused for a key that is no field of a dataclass, or one of those in `excluded`."""
    names = [field.name for field in fields(kind) if field.init and field.name not in excluded]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise Refused(f"{place.rstrip('.')} must have the keys {', '.join(names)}, not be {values!r}")
    for key in values:
        if key not in names:
            raise unknown(key, place, names)


def validate_fields(values: Any, kind: type, place: str, excluded: Container[str] = ()) -> dict[str, Any]:
    """Returns the values converted to the types of a dataclass's fields, except those in `excluded`.

    Raises Refused for an unknown key or a wrong type.
    """
    types = declared_types(kind)
    check_keys(values, kind, place, excluded)
    validated = {}
    for key, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise Refused(f"{place}{key} must be a number, not {value}")
        try:
            validated[key] = converter(types.get(key, Any)).validate_python(value)
        except ValidationError as error:
            message = "; or ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            message = message.replace("'str' instances are not allowed as a Sequence value", f"Input should be {LIST}")
            message = message.replace("an instance of Sequence", LIST)
            raise Refused(f"{place}{key}={value!r}: {message[0].lower()}{message[1:]}") from error
    return validated


def instantiate(section: str, values: Mapping[str, Any], **parts: Any) -> Any:
    """Creates the object of a configuration section; `parts` are further arguments. Raises Refused."""
    target = values.get("_target_")
    arguments = {key: value for key, value in values.items() if key != "_target_"}
    kind = class_of(target)
    noun = section.rpartition(".")[2]
    if not any(hasattr(kind, name) for name in REQUIRED_METHODS[noun]):
        raise Refused(f"{section}._target_ {target!r} is no {noun}: it has no {' or '.join(REQUIRED_METHODS[noun])}")
    if is_dataclass(kind):
        arguments = validate_fields(arguments, kind, f"{section}.", excluded=parts)
    try:
        return kind(**arguments, **parts)
    except (ValueError, TypeError) as error:
        place = "" if any(name in str(error) for name in (*arguments, f"{section}=")) else f"{section}: "
        raise Refused(f"{place}{error}") from error
