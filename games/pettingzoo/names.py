"""Finds PettingZoo environments by name, and makes them.

A name is that of a module (`mpe2.simple_spread_v3`), a part of it (`connect_four`, `classic/connect_four-v3`), a
package with the name of one of its teams in Gymnasium (`lbforaging.Foraging-8x8-2p-2f-coop-v3`), or that of a function
that makes an environment (`my_package:make`).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from marl_engine.errors import Refused, excerpt, unknown

EXTRAS = {  # packages of environments, and the extra of this package that installs them
    "mpe2": "pettingzoo",
    "pettingzoo.classic": "classic",
    "pettingzoo.butterfly": "butterfly",
    "pettingzoo.sisl": "sisl",
    "lbforaging": "lbforaging",
    "rware": "rware",
}
TEAMS = ("lbforaging", "rware")  # packages of Gymnasium's environments of teams
PRESETS = (  # of environments, in configs/game/pettingzoo: a module without its version, or the package of a team
    "connect_four",
    "cooperative_pong",
    "knights_archers_zombies",
    "lbforaging",
    "leduc_holdem",
    "multiwalker",
    "pistonball",
    "pursuit",
    "rware",
    "simple_reference",
    "simple_speaker_listener",
    "simple_spread",
    "simple_tag",
    "texas_holdem",
    "tictactoe",
)
LISTED = 5  # names in a suggestion


@dataclass(frozen=True)
class Maker:
    """Makes copies of one environment, also in other processes.

    Raises Refused if there is no such environment, if it is not installed, and if it refuses its arguments.
    """

    name: str
    arguments: Mapping[str, Any]

    def make(self, **extra: Any) -> Any:
        """Returns a new environment: a `ParallelEnv` if agents can act at once, otherwise an `AECEnv`."""
        if self.arguments.get("render_mode") != "human":
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is needed to train or to draw a replay
        factory = find_factory(self.name)
        try:
            return factory(**{**self.arguments, **extra})
        except TypeError as error:
            raise explain_arguments(self.name, self.arguments, error) from error
        except ImportError as error:
            raise missing_package(self.name, error) from error
        except (ValueError, AssertionError, KeyError) as error:
            raise Refused(
                f"{self.name} refuses game.arguments {dict(self.arguments)}: {excerpt(str(error))}"
            ) from error


def find_factory(name: str) -> Callable[..., Any]:
    """Returns the function that makes an environment. Raises Refused."""
    package, _, team = name.replace("/", ".").partition(".")
    if package in TEAMS:
        return load_team(package, team)
    path, _, function = name.partition(":")
    module = load_module(path if function else module_name(name))
    choices = (function,) if function else ("parallel_env", "env")
    found = next((vars(module)[each] for each in choices if callable(vars(module).get(each))), None)
    if found is None:
        raise Refused(f"game.env={name}: {module.__name__} has no function {' or '.join(choices)}")
    factory: Callable[..., Any] = found
    return factory


def load_team(package: str, name: str) -> Callable[..., Any]:
    """Returns the function that makes an environment of Gymnasium. Raises Refused."""
    if find_root(package) is None or find_root("pettingzoo") is None:
        raise Refused(f"game.env={package}.{name} needs {package}; {install_line(EXTRAS[package])}")
    from games.pettingzoo.teams import find_team

    return find_team(package, name)


def module_name(name: str) -> str:
    """Returns the full name of the module of an environment, which may be a module of the user's. Raises Refused."""
    names = installed_names()
    short = name.replace("/", ".").replace("-v", "_v")
    for each in reversed(names):  # the newest version of a name without one
        if any(f".{form}".endswith(f".{short}") for form in (each, without_version(each))):
            return each
    package = next((each for each in EXTRAS if name.startswith(f"{each}.") and not folder_of(each)), None)
    if package is not None:
        raise Refused(f"game.env={name} needs {package}; {install_line(EXTRAS[package])}")
    if "." in name and not name.startswith(tuple(EXTRAS)) and find_root(name) is not None:
        return name
    if not names:
        raise Refused(f"game.env={name} needs PettingZoo; {install_line('pettingzoo')}")
    raise Refused(
        f"there is no environment {name!r}; choose from {', '.join(nearest_names(short, names))}, … ({len(names)} in "
        "all), or name a function that makes one, as in game.env=my_package:make"
    )


def preset_of(name: str) -> str | None:
    """Returns the preset with settings for an environment; None if it has none."""
    parts = without_version(name.replace("/", ".").replace("-v", "_v")).split(".")
    known = next((each for each in (parts[0], parts[-1]) if each in PRESETS), None)
    return None if known is None else f"pettingzoo/{known}"


def without_version(name: str) -> str:
    """Returns the name of a module without the version at its end."""
    return re.sub(r"_v\d+$", "", name)


def nearest_names(short: str, names: list[str]) -> list[str]:
    """Returns the names of modules that are most similar to a name, with or without their package and version."""
    forms: dict[str, str] = {}
    for each in names:
        last = each.rpartition(".")[2]
        forms |= dict.fromkeys((each, last, without_version(last)), each)
    near = get_close_matches(short, forms, n=3 * LISTED, cutoff=0.0)
    return list(dict.fromkeys(forms[each] for each in near))[:LISTED]


def installed_names() -> list[str]:
    """Returns the full names of all environments that are installed, sorted."""
    folders = {package: folder_of(package) for package in EXTRAS}
    return sorted(
        f"{package}.{path.stem}"
        for package, folder in folders.items()
        if folder is not None
        for path in folder.glob("*_v[0-9]*.py")
    )


def folder_of(package: str) -> Path | None:
    """Returns the folder of a package, found without importing it; None if it is not installed."""
    spec = find_root(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.joinpath(*package.split(".")[1:])
    return folder if folder.is_dir() else None


def find_root(name: str) -> ModuleSpec | None:
    """Returns the specification of the first part of a module's name; None if there is no such module."""
    try:
        return find_spec(name.partition(".")[0])
    except ValueError:
        return None


def load_module(name: str) -> Any:
    """Imports a module. Raises Refused, with the line that installs what is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise missing_package(name, error) from error


def missing_package(name: str, error: ImportError) -> Refused:
    """Returns the error for an environment that cannot be imported, with the line that installs what it needs."""
    extra = next((EXTRAS[each] for each in EXTRAS if name.startswith(each)), None)
    advice = f"; {install_line(extra)}" if extra else ""
    return Refused(f"game.env={name} cannot be imported: {excerpt(str(error))}{advice}")


def install_line(extra: str) -> str:
    """Returns how to install an extra of this package."""
    return f"get it with pip install 'marl_engine[{extra}]'"


def explain_arguments(name: str, arguments: Mapping[str, Any], error: TypeError) -> Refused:
    """Returns the error for arguments that an environment does not take, with those that it takes."""
    factory = find_factory(name)
    opaque = name.startswith(TEAMS)  # it passes its arguments on
    described = factory if opaque or ":" in name else vars(load_module(module_name(name))).get("raw_env", factory)
    parameters = () if opaque else signature(described).parameters.values()
    names = [each.name for each in parameters if each.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)]
    strange = next((key for key in arguments if key not in names), None)
    if strange is not None and names:
        return unknown(strange, "game.arguments.", names)
    return Refused(f"{name} refuses game.arguments {dict(arguments)}: {excerpt(str(error))}")
