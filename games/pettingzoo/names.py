"""Finds PettingZoo environments by name.

A name is that of a module (`mpe2.simple_spread_v3`, or one of the user's), a part of the name of one that is installed
(`connect_four`, `classic/connect_four-v3`), a package with the name of one of its teams in Gymnasium
(`lbforaging.Foraging-8x8-2p-2f-coop-v3`), or that of a function that makes an environment (`my_package:make`).
"""

import re
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from marl_engine.errors import Refused, excerpt

INSTALL = {  # packages of environments, and what pip installs them with
    "mpe2": "marl_engine[pettingzoo]",
    "pettingzoo.classic": "marl_engine[classic]",
    "pettingzoo.butterfly": "marl_engine[butterfly]",
    "pettingzoo.sisl": "marl_engine[sisl]",
    "pettingzoo.atari": "pettingzoo[atari]",
    "lbforaging": "marl_engine[lbforaging]",
    "rware": "marl_engine[rware]",
}
TEAMS = ("lbforaging", "rware")  # packages of Gymnasium's environments of teams
FACTORIES = (
    "parallel_env",
    "env",
    "raw_env",
)  # functions of a module that make its environment, the first choice first
PRESETS = (  # in configs/game/pettingzoo: of modules, without their version, and of packages of teams
    "lbforaging",
    "mpe2.simple_reference",
    "mpe2.simple_speaker_listener",
    "mpe2.simple_spread",
    "mpe2.simple_tag",
    "pettingzoo.butterfly.cooperative_pong",
    "pettingzoo.butterfly.knights_archers_zombies",
    "pettingzoo.butterfly.pistonball",
    "pettingzoo.classic.connect_four",
    "pettingzoo.classic.leduc_holdem",
    "pettingzoo.classic.texas_holdem",
    "pettingzoo.classic.tictactoe",
    "pettingzoo.sisl.multiwalker",
    "pettingzoo.sisl.pursuit",
    "rware",
)
HOSTILE = (  # packages and modules, without their version, in which some agents lose what others gain
    "mpe2.simple_adversary",
    "mpe2.simple_crypto",
    "mpe2.simple_push",
    "mpe2.simple_tag",
    "mpe2.simple_world_comm",
    "pettingzoo.classic",
)
FRIENDLY = ("pettingzoo.classic.hanabi",)  # exceptions
LISTED = 5  # names in a suggestion


def find_factory(name: str) -> Callable[..., Any]:
    """Returns the function that makes an environment. Raises Refused."""
    package, team = split_team(name)
    if package in TEAMS:
        return load_team(package, team)
    path, _, function = name.partition(":")
    module = load_module(path if function else module_name(name))
    choices = (function,) if function else FACTORIES
    found = next((vars(module)[each] for each in choices if callable(vars(module).get(each))), None)
    if found is None:
        raise Refused(f"game.env={name}: {module.__name__} has no function {' or '.join(choices)}")
    factory: Callable[..., Any] = found
    return factory


def split_team(name: str) -> tuple[str, str]:
    """Returns the first part of a name, and the rest: a package of teams and one of its teams."""
    package, _, team = name.replace("/", ".").partition(".")
    return package, team


def load_team(package: str, name: str) -> Callable[..., Any]:
    """Returns the function that makes an environment of Gymnasium. Raises Refused."""
    if find_root(package) is None or find_root("pettingzoo") is None:
        raise Refused(f"game.env={package}.{name} needs {package}; {install_line(package)}")
    from games.pettingzoo.teams import find_team

    return find_team(package, name)


def module_name(name: str) -> str:
    """Returns the full name of the module of an environment, which may be a module of the user's. Raises Refused."""
    known = known_module(name)
    if known is not None:
        return known
    package = package_of(name)
    if package is not None and not folder_of(package):
        raise Refused(f"game.env={name} needs {package}; {install_line(package)}")
    if package is None and find_root(name) is not None:
        return name
    names = installed_names()
    if not names:
        raise Refused(f"game.env={name} needs PettingZoo; {install_line('mpe2')}")
    near = ", ".join(nearest_names(short_name(name), names))
    raise Refused(
        f"there is no environment {name!r}; choose from {near}, … ({len(names)} in all), or name a function that makes "
        "one, as in game.env=my_package:make"
    )


def known_module(name: str) -> str | None:
    """Returns the full name of an installed module of environments, of which `name` is a part; None if it is none.

    A name without a version is that of the newest one.
    """
    short = f".{short_name(name)}"
    matches = (
        each
        for each in reversed(installed_names())
        if any(f".{form}".endswith(short) for form in (each, without_version(each)))
    )
    return next(matches, None)


def short_name(name: str) -> str:
    """Returns a name as it is part of the name of a module."""
    return name.replace("/", ".").replace("-v", "_v")


def preset_of(name: str) -> str | None:
    """Returns the preset with settings for an environment that is installed; None if it has none."""
    package, team = split_team(name)
    known = known_module(name)
    if package in TEAMS:
        with suppress(Refused, ImportError):
            load_team(package, team)
            known = package
    key = None if known is None else without_version(known)
    return f"pettingzoo/{key.rpartition('.')[2]}" if key in PRESETS and key is not None else None


def is_competitive(name: str) -> bool:
    """Whether it is known that some agents of an environment lose what others gain."""
    known = without_version(known_module(name) or "")
    return f"{known}.".startswith(tuple(f"{each}." for each in HOSTILE)) and known not in FRIENDLY


def package_of(name: str) -> str | None:
    """Returns the package of environments to which a name belongs; None: it is the user's."""
    module = known_module(name) or name.replace("/", ".").partition(":")[0]
    return next((each for each in INSTALL if f"{module}.".startswith(f"{each}.")), None)


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
    folders = {package: folder_of(package) for package in INSTALL}
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
    package = package_of(name)
    advice = f"; {install_line(package)}" if package else ""
    return Refused(f"game.env={name} cannot be imported: {excerpt(str(error))}{advice}")


def install_line(package: str) -> str:
    """Returns how to install a package of environments."""
    return f"get it with pip install '{INSTALL[package]}'"
