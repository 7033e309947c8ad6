"""Games of OpenSpiel by name: weighed, walked if they fit into memory, and kept on disk."""

import hashlib
import math
import os
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from games.trees import LARGEST, Tree, walked
from marl_engine.folder import cache_folder
from marl_engine.sequences import Form

WIDTH, DESCENTS = 2000, 5  # histories at each depth that stand for all; random walks below where they are too many
FORMAT = 5  # of the arrays on disk


@cache
def compiled(name: str) -> tuple[Tree, Form]:
    """The arrays of a game, from disk if they are there. Raises ValueError for a game that does not fit."""
    game = sequential(name)
    key = f"{game} {version('open_spiel')} {FORMAT}"
    path = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if path.is_file():
        return read(path)
    try:
        found = weighed_and_walked(name, game)
    except RuntimeError as error:  # pyspiel.SpielError is one
        raise ValueError(f"OpenSpiel cannot play {name!r} through: {str(error).splitlines()[0]}") from error
    write(path, found)
    return found


def weighed_and_walked(name: str, game: Any) -> tuple[Tree, Form]:
    """The arrays of a game, made while a display says how far they are. Raises ValueError for one that does not fit."""
    from rich.console import Console

    size = estimated(game)
    if size > LARGEST:
        raise ValueError(
            f"game.name={name} has about {rounded(size)} histories, and at most {LARGEST:,} are compiled; "
            "choose a smaller game"
        )
    with Console(stderr=True).status(f"compiling {name}") as status:

        def tell(done: int) -> None:
            status.update(f"compiling {name}: {done:,} of about {rounded(size)} histories")

        try:
            return walked(game, tell, watched=not game.get_type().provides_information_state_string)
        except ValueError as error:
            raise ValueError(f"game.name={name}: {error}") from error


def estimated(game: Any) -> int:
    """How many histories a tree has: at each depth some, drawn at random, stand for all of them (Chen 1992).

    Exact where there are no more than WIDTH. Below the depth at which there are too many, by random walks.
    """
    draw, states, count, size = Random(0), [game.new_initial_state()], 1, 1
    while states and size <= LARGEST:
        children = [state.child(action) for state in states for action in state.legal_actions()]
        count = count * len(children) // len(states)
        size += count
        width = max(DESCENTS, WIDTH * len(states) // len(children))  # so that there are as many children again
        states = [child for child in children if not child.is_terminal()]
        count = count * len(states) // len(children)
        states = draw.sample(states, min(width, len(states)))
    below = [descended(state, draw) for state in states[:DESCENTS]]
    return size + (count * sum(below) // len(below) if below else 0)


def descended(state: Any, draw: Random) -> int:
    """How many histories lie below a state, from one random walk weighted by its branching (Knuth 1975)."""
    weight, size = 1, 0
    while not state.is_terminal():
        actions = state.legal_actions()
        weight *= len(actions)
        size += weight
        state.apply_action(draw.choice(actions))
    return size


def rounded(size: int) -> str:
    """Two digits of a number, or its power of ten."""
    power = math.floor(math.log10(size))
    return f"{round(size, 1 - power):,}" if power < 15 else f"10^{power}"


def read(path: Path) -> tuple[Tree, Form]:
    """What `write` wrote."""
    with np.load(path) as found:
        tree, form = ([found[f"{kind.__name__}.{each}"] for each in kind._fields] for kind in (Tree, Form))
    return Tree(*tree), Form(*form)._replace(unit=float(form[-1]))


def write(path: Path, found: tuple[Tree, Form]) -> None:
    """Keeps compiled arrays on disk, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(
        partial, **{f"{type(part).__name__}.{name}": each for part in found for name, each in part._asdict().items()}
    )
    partial.replace(path)


def knows(name: str) -> bool:
    """Whether OpenSpiel is here and has a game of this name."""
    try:
        import pyspiel
    except ImportError:
        return False
    return name.partition("(")[0] in pyspiel.registered_names()


def sequential(name: str) -> Any:
    """The pyspiel game of a string, simultaneous moves turned into successive ones. Raises ValueError."""
    try:
        import pyspiel
    except ImportError as error:
        raise ValueError("OpenSpiel is not installed; get it with pip install 'marl_engine[openspiel]'") from error

    short, names = name.partition("(")[0], pyspiel.registered_names()
    if short not in names:
        near = get_close_matches(short, names, n=5, cutoff=0.0)
        raise ValueError(f"OpenSpiel has no game {short!r}; choose from {', '.join(near)}, … ({len(names)} in all)")
    try:
        game = pyspiel.load_game(name)
    except (pyspiel.SpielError, IndexError) as error:
        raise ValueError(f"OpenSpiel refuses {name!r}: {str(error).splitlines()[0]}") from error
    kind, values = game.get_type(), pyspiel.GameType
    if kind.dynamics == values.Dynamics.MEAN_FIELD:
        raise ValueError(f"OpenSpiel's {name!r} is a game of infinitely many players, so it cannot be compiled")
    if kind.chance_mode == values.ChanceMode.SAMPLED_STOCHASTIC:
        raise ValueError(f"OpenSpiel's {name!r} does not say what its chances are, so it cannot be compiled")
    if not (kind.provides_information_state_string or kind.provides_observation_string):
        raise ValueError(f"OpenSpiel's {name!r} does not say what a player has seen, so it cannot be compiled")
    if kind.dynamics == values.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    return game
