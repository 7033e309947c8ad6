"""What a game of OpenSpiel is, as a digest of all that its arrays depend on.

Its string would not do: pyspiel drops the parameters of nested games from it, and a file's name says nothing of what
is in the file.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from games.gambit.efg import efg_path


def identity(name: str, code: Sequence[ModuleType]) -> str | None:
    """The digest of a game, of the library, and of our own code that makes arrays of it.

    None where it cannot be had: a game in Python depends on whatever it imports, and one may read a whole folder.
    """
    path = efg_path(name)
    game = file_digest(path) if path else describe(name)
    return None if game is None else digest(repr((game, source_digest(tuple(code)))).encode())


def describe(name: str) -> tuple[Any, ...] | None:
    """All parameters of a game and of those nested in it, and the content of files that they name; None as above."""
    import pyspiel

    defaults = {each.short_name: each.parameter_specification for each in pyspiel.registered_games()}
    games = list(nested_games(pyspiel.game_parameters_from_string(name)))
    paths = [value for game in games for value in game.values() if isinstance(value, str)]
    if any(map(in_python, games)) or any(map(os.path.isdir, paths)):
        return None
    contents = [file_digest(path) for path in paths if os.path.isfile(path)]
    return version("open_spiel"), [sorted({**defaults[game["name"]], **game}.items()) for game in games], contents


def nested_games(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A game's parameters, and those of the games in it."""
    if "name" in parameters:
        yield parameters
    for value in parameters.values():
        if isinstance(value, dict):
            yield from nested_games(value)


def in_python(parameters: Mapping[str, Any]) -> bool:
    """Whether a game is written in Python; classes of C++ are in pyspiel, or in a module of it (tic_tac_toe)."""
    import pyspiel

    rest = {key: value for key, value in parameters.items() if key != "name"}
    return type(pyspiel.load_game(parameters["name"], rest)).__module__.partition(".")[0] != "pyspiel"


@cache
def source_digest(code: tuple[ModuleType, ...]) -> str:
    """The digest of modules as they are written."""
    return digest(b"".join(Path(str(module.__file__)).read_bytes() for module in code))


def file_digest(path: str) -> str:
    """The digest of what is in a file. Raises ValueError."""
    try:
        return digest(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def digest(content: bytes) -> str:
    """24 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:24]
