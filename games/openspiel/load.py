"""Loads OpenSpiel games by name: estimates their size, traverses those that fit, and caches the arrays on disk."""

import math
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from random import Random
from typing import Any
from zipfile import BadZipFile

import numpy as np

from games.gambit import efg, nfg
from games.gambit.efg import efg_path, load_efg
from games.openspiel import tree_walk
from games.openspiel.identity import game_identity
from games.openspiel.tree_walk import LARGEST, walk_tree
from marl_engine.errors import excerpt
from marl_engine.extensive_form import sequence_form
from marl_engine.extensive_form.sequence_form import SequenceForm
from marl_engine.extensive_form.tree import Tree
from marl_engine.numerics.cache import cache_folder

WIDTH, DESCENTS = 2000, 5  # histories that are expanded at each depth; random walks below if there are more
DAMAGES = (OSError, ValueError, KeyError, EOFError, BadZipFile, RuntimeError)  # of files in a cache, and no home for it
CODE = (sys.modules[__name__], tree_walk, efg, nfg, sequence_form)  # modules that arrays depend on, besides the game
THROUGH_STATES = "play it through its states with game=openspiel_states"
IN_MEMORY: dict[str, tuple[Tree, SequenceForm]] = {}  # by identity


class Uncompiled(ValueError):
    """A game that is not compiled, since it is too large or a player forgets; it can be played through its states."""


def compile_game(name: str) -> tuple[Tree, SequenceForm]:
    """Returns the arrays of a game, from memory or disk if available.

    Raises Uncompiled for a game that does not fit, and ValueError for one that is unknown or fails.
    """
    game = load_sequential(name)
    key = game_identity(name, CODE)
    if key is None:
        return walk_game(name, game)
    if key not in IN_MEMORY:
        IN_MEMORY[key] = from_disk(key) or onto_disk(key, walk_game(name, game))
    return IN_MEMORY[key]


def from_disk(key: str) -> tuple[Tree, SequenceForm] | None:
    """Returns the arrays with an identity, if they are on disk; warns about a damaged file."""
    try:
        path = cache_folder() / f"{key}.npz"
        return read_arrays(path) if path.is_file() else None
    except DAMAGES as error:
        warn(f"the game is compiled anew, for what was kept of it cannot be read: {error}")
        return None


def onto_disk(key: str, arrays: tuple[Tree, SequenceForm]) -> tuple[Tree, SequenceForm]:
    """Saves arrays on disk and returns them; warns if the folder cannot be written."""
    try:
        write_arrays(cache_folder() / f"{key}.npz", arrays)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        warn(f"the compiled game cannot be kept for the next time: {error}; MARL_ENGINE_CACHE names another folder")
    return arrays


def warn(sentence: str) -> None:
    """Prints a line for the user."""
    print(" ".join(sentence.split()), file=sys.stderr)


def walk_game(name: str, game: Any) -> tuple[Tree, SequenceForm]:
    """Returns the arrays of a game. Raises Uncompiled if it does not fit, and ValueError if pyspiel fails."""
    try:
        return walk_if_it_fits(name, game)
    except RuntimeError as error:  # pyspiel.SpielError is one
        raise ValueError(f"OpenSpiel cannot play {name!r} through: {excerpt(str(error))}") from error


def walk_if_it_fits(name: str, game: Any) -> tuple[Tree, SequenceForm]:
    """Returns the arrays of a game while a display shows progress. Raises Uncompiled if it does not fit."""
    from rich.console import Console
    from rich.text import Text

    size = estimate_size(game)
    if size > LARGEST:
        raise Uncompiled(
            f"{name} has about {format_size(size)} histories, and at most {LARGEST:,} are compiled; choose a smaller "
            f"game, or {THROUGH_STATES}"
        )
    with Console(stderr=True).status(Text(f"compiling {name}")) as status:

        def tell(done: int) -> None:
            status.update(Text(f"compiling {name}: {done:,} of about {format_size(size)} histories"))

        try:
            return walk_tree(game, tell, watched=not game.get_type().provides_information_state_string)
        except ValueError as error:
            raise Uncompiled(f"{name}: {error}; or {THROUGH_STATES}") from error


def estimate_size(game: Any) -> int:
    """Estimates the number of histories: at each depth a random sample stands for all of them (Chen 1992).

    The result is exact if there are at most WIDTH at each depth. Below the depth at which there are too many, random
    walks are used.
    """
    draw, root, count, size = Random(0), game.new_initial_state(), 1, 1
    states = [] if root.is_terminal() else [root]
    while states and size <= LARGEST:
        children = [state.child(action) for state in states for action in state.legal_actions()]
        count = count * len(children) // len(states)
        size += count
        width = max(DESCENTS, WIDTH * len(states) // len(children))  # so that there are as many children again
        states = [child for child in children if not child.is_terminal()]
        count = count * len(states) // len(children)
        states = draw.sample(states, min(width, len(states)))
    below = [estimate_below(state, draw) for state in states[:DESCENTS]]
    return size + (count * sum(below) // len(below) if below else 0)


def estimate_below(state: Any, draw: Random) -> int:
    """Estimates the number of histories below a state by a random walk weighted by its branching (Knuth 1975)."""
    weight, size = 1, 0
    while not state.is_terminal():
        actions = state.legal_actions()
        weight *= len(actions)
        size += weight
        state.apply_action(draw.choice(actions))
    return size


def format_size(size: int) -> str:
    """Formats a number with two digits, or as a power of ten."""
    power = math.floor(math.log10(size))
    return f"{round(size, 1 - power):,}" if power < 15 else f"10^{power}"


def read_arrays(path: Path) -> tuple[Tree, SequenceForm]:
    """Reads arrays saved by `write`."""
    with np.load(path) as arrays:
        tree, form = ([arrays[f"{kind.__name__}.{each}"] for each in kind._fields] for kind in (Tree, SequenceForm))
    return Tree(*tree), SequenceForm(*form)._replace(unit=float(form[-1]))


def write_arrays(path: Path, arrays: tuple[Tree, SequenceForm]) -> None:
    """Saves arrays on disk atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    try:
        np.savez(
            partial,
            **{f"{type(part).__name__}.{name}": each for part in arrays for name, each in part._asdict().items()},
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # after an error, such as a full disk


def has_game(name: str) -> bool:
    """Whether OpenSpiel is installed and has a game of this name."""
    try:
        return short_name(name) in registered_names(name)
    except ImportError:
        return False


def short_name(name: str) -> str:
    """Returns a game's name without its parameters."""
    return name.partition("(")[0]


def registered_names(name: str) -> list[str]:
    """Returns the names of OpenSpiel's games, including those in Python if `name` may be one of them.

    Raises ImportError if OpenSpiel is not installed.
    """
    import pyspiel

    if "python_" in name or short_name(name) not in pyspiel.registered_names():
        import open_spiel.python.games  # noqa: F401  # registers them
    return pyspiel.registered_names()


def load_sequential(name: str) -> Any:
    """Returns the pyspiel game of a string, with simultaneous moves made sequential, or that of a .efg file.

    Raises ValueError.
    """
    if path := efg_path(name):
        return load_efg(path)
    game = load_game(name)
    import pyspiel

    kind = game.get_type()
    if not (kind.provides_information_state_string or kind.provides_observation_string):
        raise ValueError(f"OpenSpiel's {name!r} does not say what a player has seen, so it cannot be compiled")
    if kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    return game


def load_game(name: str) -> Any:
    """Returns the pyspiel game of a string. Raises ValueError."""
    try:
        import pyspiel

        names = registered_names(name)
    except ImportError as error:
        raise ValueError("OpenSpiel is not installed; get it with pip install 'marl_engine[openspiel]'") from error

    if short_name(name) not in names:
        near = get_close_matches(short_name(name), names, n=5, cutoff=0.0)
        raise ValueError(
            f"OpenSpiel has no game {short_name(name)!r}; choose from {', '.join(near)}, … ({len(names)} in all), "
            "or give a Gambit .efg file"
        )
    try:
        game = pyspiel.load_game(name)
    except (pyspiel.SpielError, IndexError) as error:
        raise ValueError(f"OpenSpiel refuses {name!r}: {excerpt(str(error))}") from error
    check_kind(name, game.get_type())
    return game


def check_kind(name: str, kind: Any) -> None:
    """Raises ValueError if the type of a game shows that it cannot be played from the seeds of copies."""
    from pyspiel import GameType

    if kind.dynamics == GameType.Dynamics.MEAN_FIELD:
        raise ValueError(f"OpenSpiel's {name!r} is a game of infinitely many players, so it cannot be played here")
    if kind.chance_mode == GameType.ChanceMode.SAMPLED_STOCHASTIC:
        raise ValueError(f"OpenSpiel's {name!r} does not say what its chances are, so it cannot be played here")
