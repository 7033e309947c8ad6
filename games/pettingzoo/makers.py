"""Makes environments, also in other processes, and explains arguments that do not fit."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from games.pettingzoo.names import TEAMS, find_factory, load_module, missing_package, module_name, package_of
from marl_engine.errors import Refused, excerpt, unknown


@dataclass(frozen=True)
class Maker:
    """Makes copies of one environment.

    Raises Refused if there is no such environment, if it is not installed, and if it refuses its arguments. Exceptions
    of a function of the user's are left as they are.
    """

    name: str
    arguments: Mapping[str, Any]

    def make(self, **extra: Any) -> Any:
        """Returns a new environment: a `ParallelEnv` if agents can act at once, otherwise an `AECEnv`."""
        if self.arguments.get("render_mode") != "human":
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is needed to train or to draw a replay
        factory, arguments = find_factory(self.name), {**self.arguments, **extra}
        try:
            return factory(**arguments)
        except ImportError as error:
            if package_of(self.name) is None:
                raise
            raise missing_package(self.name, error) from error
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            refused = explain_arguments(self.name, factory, arguments, error)
            if refused is None:
                raise
            raise refused from error

    def make_drawable(self) -> tuple[Any, bool]:
        """Returns a new environment that draws pictures, and whether it was told to; some functions cannot be told."""
        try:
            return self.make(render_mode="rgb_array"), True
        except (Refused, TypeError) as error:
            if "render_mode" not in str(error):
                raise
        return self.make(), False


def explain_arguments(
    name: str, factory: Callable[..., Any], arguments: Mapping[str, Any], error: Exception
) -> Refused | None:
    """Returns the error for arguments that an environment does not take, with those that it takes.

    None if they can be given to the user's function that makes it, or if there are none: then it has an error itself.
    """
    package = package_of(name)
    inner = factory if ":" in name or package in TEAMS else vars(load_module(module_name(name))).get("raw_env", factory)
    if accepts(factory, arguments) and accepts(inner, arguments) and (package is None or not arguments):
        return None
    parameters = () if package in TEAMS else signature(inner).parameters.values()
    names = [each.name for each in parameters if each.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)]
    strange = next((key for key in arguments if key not in names), None)
    if strange is not None and names and not accepts(inner, arguments):
        return unknown(strange, "game.arguments.", names)
    return Refused(f"{name} refuses game.arguments {dict(arguments)}: {excerpt(str(error))}")


def accepts(function: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Whether a function can be called with arguments by their names; True if nobody knows."""
    try:
        signature(function).bind(**arguments)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True
