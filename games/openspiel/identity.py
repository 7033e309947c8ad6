"""The identity of an OpenSpiel game: a digest of everything that its arrays depend on.

The game string is not enough: pyspiel omits the parameters of nested games from it, and the name of a file does not
determine its content.
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


def game_identity(name: str, code: Sequence[ModuleType]) -> str | None:
    """Returns the digest of a game, the library, and the project code that compiles it.

    None if it cannot be determined: a game in Python depends on its imports, and some games read a whole folder.
    """
    path = efg_path(name)
    game = file_digest(path) if path else describe_game(name)
    return None if game is None else text_digest(repr((game, source_digest(tuple(code)))).encode())


def describe_game(name: str) -> tuple[Any, ...] | None:
    """Returns all parameters of a game and its nested games, and the content of files that they name.

    Returns None in the cases above.
    """
    import pyspiel

    defaults = {each.short_name: each.parameter_specification for each in pyspiel.registered_games()}
    games = list(nested_games(pyspiel.game_parameters_from_string(name)))
    paths = [value for game in games for value in game.values() if isinstance(value, str)]
    if any(map(python_parameters, games)) or any(map(os.path.isdir, paths)):
        return None
    contents = [file_digest(path) for path in paths if os.path.isfile(path)]
    return version("open_spiel"), [sorted({**defaults[game["name"]], **game}.items()) for game in games], contents


def nested_games(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the parameters of a game and of the games nested in it."""
    if "name" in parameters:
        yield parameters
    for value in parameters.values():
        if isinstance(value, dict):
            yield from nested_games(value)


def python_parameters(parameters: Mapping[str, Any]) -> bool:
    """Whether a game is written in Python. C++ classes are in pyspiel or a module of it (tic_tac_toe)."""
    import pyspiel

    rest = {key: value for key, value in parameters.items() if key != "name"}
    return type(pyspiel.load_game(parameters["name"], rest)).__module__.partition(".")[0] != "pyspiel"


@cache
def source_digest(code: tuple[ModuleType, ...]) -> str:
    """Returns the digest of the source of modules."""
    return text_digest(b"".join(Path(str(module.__file__)).read_bytes() for module in code))


def file_digest(path: str) -> str:
    """Returns the digest of a file. Raises ValueError."""
    try:
        return text_digest(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def text_digest(content: bytes) -> str:
    """Returns 24 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:24]
