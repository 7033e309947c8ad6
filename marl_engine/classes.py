"""Classes by their dotted names, as `_target_` gives them."""

from importlib import import_module

from marl_engine.errors import Refused


def class_of(target: object) -> type:
    """The class that a dotted name stands for. Raises Refused."""
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"_target_ {target!r} is not an importable class: {error}") from error
    if not isinstance(found, type):
        raise Refused(f"_target_ {target!r} is not a class")
    return found
