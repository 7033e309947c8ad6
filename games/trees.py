"""The trees of OpenSpiel's games (Lanctot et al. 2019, arXiv:1908.09453) as arrays, walked once and kept on disk."""

import hashlib
import os
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_engine.sequences import Ending, Form, assembled

CHANCE, END = -1, -2
DESCENTS = 200  # random walks that estimate the size of a tree
FORMAT = 4  # of the arrays on disk
LARGEST = 20_000_000  # histories; a tree of as many takes some gigabytes


class Tree(NamedTuple):
    """N histories, C children, I information sets, in the order in which they are found, depth first."""

    player: np.ndarray  # (N,) int8: whose move it is, CHANCE or END
    infoset: np.ndarray  # (N,) int32: number among all information sets; at an end: row of `payoff`; else -1
    child: np.ndarray  # (N + 1,) int32: where the children of each history begin
    to: np.ndarray  # (C,) int32: the history that a child is; a player's are in the order of its legal actions
    chance: np.ndarray  # (C,) float64: its probability; 1 where a player moves
    payoff: np.ndarray  # (ends, P) float64
    legal: np.ndarray  # (I, A) bool
    tensor: np.ndarray  # (I, D) float32: what OpenSpiel shows of an information set
    name: np.ndarray  # (I,) str: OpenSpiel's string of it


class Walk:
    """One walk through a tree, depth first, with what it finds."""

    def __init__(self, game: Any, tell: Callable[[int], None]):
        self.players, self.tell = game.num_players(), tell
        self.player: list[int] = []
        self.infoset: list[int] = []
        self.children: list[list[tuple[int, float]]] = []
        self.payoff: list[list[float]] = []
        self.known: list[dict[str, int]] = [{} for _ in range(self.players)]
        self.owner: list[int] = []
        self.legal: list[list[int]] = []
        self.tensor: list[np.ndarray] = []
        self.parent: list[tuple[int, int] | None] = []  # information set and action, both own
        self.endings: list[tuple[list[tuple[int, int] | None], int, float]] = []
        self.with_tensor = game.get_type().provides_information_state_tensor

    def visit(self, state: Any, last: list[tuple[int, int] | None], chance: float) -> int:
        """Walks on from a state; `last` is what each player did last. Returns the number of its history."""
        number = len(self.player)
        self.player.append(END)
        self.infoset.append(-1)
        self.children.append([])
        if number % 10_000 == 0:
            self.tell(number)
        if state.is_terminal():
            self.infoset[number] = len(self.payoff)
            self.payoff.append(state.returns())
            self.endings.append((list(last), self.infoset[number], chance))
        elif state.is_chance_node():
            self.player[number] = CHANCE
            for action, share in state.chance_outcomes():
                self.children[number].append((self.visit(state.child(action), last, chance * share), share))
        else:
            mover = self.player[number] = state.current_player()
            infoset = self.infoset[number] = self._infoset(state, mover, last)
            before = last[mover]
            for action in self.legal[infoset]:
                last[mover] = infoset, action
                self.children[number].append((self.visit(state.child(action), last, chance), 1.0))
            last[mover] = before
        return number

    def _infoset(self, state: Any, mover: int, last: list[tuple[int, int] | None]) -> int:
        """The number of a state's information set. Raises ValueError when its player forgets what it did."""
        name = state.information_state_string(mover)
        number = self.known[mover].get(name)
        if number is None:
            number = self.known[mover][name] = len(self.owner)
            self.owner.append(mover)
            self.legal.append(state.legal_actions())
            self.parent.append(last[mover])
            tensor = state.information_state_tensor(mover) if self.with_tensor else []
            self.tensor.append(np.array(tensor, np.float32))
        elif self.parent[number] != last[mover]:
            raise ValueError(f"player {mover} forgets its own actions at {name!r}; exact solvers need perfect recall")
        return number


def walked(game: Any, tell: Callable[[int], None]) -> tuple[Tree, Form]:
    """The tree and the sequence form of a sequential pyspiel game; `tell` hears how many histories are done.

    Raises ValueError when a player forgets its own actions.
    """
    walk = Walk(game, tell)
    walk.visit(game.new_initial_state(), [None] * walk.players, 1.0)
    owner = np.array(walk.owner, np.int32)
    order = np.argsort(owner, kind="stable")  # information sets of player 0, then of player 1, …
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first = np.cumsum([walk.players, *(len(walk.legal[infoset]) for infoset in order)])
    place = [{action: at for at, action in enumerate(legal)} for legal in walk.legal]

    def sequence(mover: int, last: tuple[int, int] | None) -> int:
        return mover if last is None else int(first[rank[last[0]]]) + place[last[0]][last[1]]

    endings = [
        Ending(
            tuple(sequence(mover, each) for mover, each in enumerate(last)),
            tuple(walk.payoff[row]),
            chance,
        )
        for last, row, chance in walk.endings
    ]
    form = assembled(
        begin=np.searchsorted(owner[order], np.arange(walk.players + 1)).tolist(),
        parent=[sequence(walk.owner[infoset], walk.parent[infoset]) for infoset in order],
        first=first.tolist(),
        endings=endings,
    )
    return tree_of(walk, game.num_distinct_actions(), order, rank), form


def tree_of(walk: Walk, actions: int, order: np.ndarray, rank: np.ndarray) -> Tree:
    """The arrays of a walk, its information sets in this order."""
    player = np.array(walk.player, np.int8)
    infoset = np.array(walk.infoset, np.int32)
    moves = player >= 0
    infoset[moves] = rank[infoset[moves]]
    children = [child for each in walk.children for child in each]
    legal = np.zeros((len(order), actions), bool)
    for row, each in enumerate(order):
        legal[row, walk.legal[each]] = True
    names = sorted(((number, name) for known in walk.known for name, number in known.items()))
    return Tree(
        player=player,
        infoset=infoset,
        child=np.cumsum([0, *map(len, walk.children)]).astype(np.int32),
        to=np.array([child[0] for child in children], np.int32),
        chance=np.array([child[1] for child in children], np.float64),
        payoff=np.array(walk.payoff, np.float64),
        legal=legal,
        tensor=np.stack([walk.tensor[each] for each in order]),
        name=np.array([names[each][1] for each in order]),
    )


def estimated(game: Any, descents: int = DESCENTS) -> float:
    """How many histories a tree has, from random walks weighted by their branching (Knuth 1975)."""
    generator = np.random.default_rng(0)
    sizes = []
    for _ in range(descents):
        state, weight, size = game.new_initial_state(), 1.0, 1.0
        while not state.is_terminal():
            actions = [each for each, _ in state.chance_outcomes()] if state.is_chance_node() else state.legal_actions()
            weight *= len(actions)
            size += weight
            state.apply_action(int(generator.choice(actions)))
        sizes.append(size)
    return float(np.mean(sizes))


@cache
def compiled(name: str) -> tuple[Tree, Form]:
    """The arrays of a game, from disk if they are there. Raises ValueError for a game that does not fit."""
    from rich.console import Console

    game = sequential(name)
    key = f"{game} {version('open_spiel')} {FORMAT}"
    path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if path.is_file():
        return read(path)
    size = estimated(game)
    if size > LARGEST:
        raise ValueError(
            f"game.name={name} has about {size:.1g} histories, and at most {LARGEST:,} are compiled; "
            "choose a smaller game"
        )
    with Console(stderr=True).status(f"compiling {name}") as status:
        found = walked(game, lambda done: status.update(f"compiling {name}: {done:,} of about {size:,.0f} histories"))
    write(path, found)
    return found


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


def folder() -> Path:
    """Where compiled games are kept: $MARL_ENGINE_CACHE, or marl_engine in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MARL_ENGINE_CACHE") or Path(base) / "marl_engine")


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
    except pyspiel.SpielError as error:
        raise ValueError(f"OpenSpiel refuses {name!r}: {str(error).splitlines()[0]}") from error
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    if not game.get_type().provides_information_state_string:
        raise ValueError(f"OpenSpiel's {name!r} does not say what a player has seen, so it cannot be compiled")
    return game


def within(tree: Tree) -> np.ndarray:
    """Probabilities of children (C,) cumulated within each history."""
    total = np.cumsum(tree.chance)
    before = np.concatenate([[0.0], total])[tree.child[:-1]]
    return total - np.repeat(before, np.diff(tree.child))
