"""Gambit's files of games in extensive form, .efg (its manual, "Game representation formats").

    EFG 2 R "title" { "player 1" "player 2" } "comment"
    c "node" 1 "set" { "left" 1/3 "right" 2/3 } 0
    p "node" 2 1 "set" { "left" "right" } 1 "outcome" { 1, -1 }
    t "node" 2 "outcome" { 0, .5 }

A node is of chance, of a player or terminal. Nodes stand depth first, children in the order of the actions. Sets of
nodes and outcomes have numbers, and need to be described only where they first appear. An outcome pays wherever it
stands, at inner nodes too: a player earns the sum along the path. Number 0 pays nothing.

Actions are numbered as OpenSpiel's efg_game numbers them, so that strategies go there and back: labels of players in
the order in which they appear, and in each set its numbers from the lowest on. Nodes have the methods of pyspiel's
states that a walk calls, so that `trees` serves both.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from games.gambit.nfg import fraction, nested, quoted
from marl_engine.extensive_form.tree import CHANCE, END
from marl_engine.numerics.checks import check_distributions

Payoffs = tuple[Fraction, ...]  # (P,)


def efg_path(name: str) -> str | None:
    """The file that a game's name asks for, as "x.efg" or "efg_game(filename=x.efg)"; None for other names."""
    match = re.fullmatch(r"efg_game\(filename=(.*)\)|(.*\.efg)", name, re.DOTALL | re.IGNORECASE)
    return match and (match[1] or match[2])


def load_efg(path: str) -> "EfgGame":
    """The game in a .efg file. Raises ValueError."""
    try:
        return parse_efg(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def parse_efg(text: str) -> "EfgGame":
    """The game of a .efg file's text. Raises ValueError."""
    words = nested(text)
    if words[:2] != ["EFG", "2"] or words[2:3] not in (["R"], ["D"]):
        raise ValueError("it does not begin with EFG 2 R")
    if len(words) < 5 or not quoted(words[3]) or not isinstance(words[4], list) or not words[4]:
        raise ValueError("after EFG 2 R must come a title and { players }")
    comment = words[5:6] and quoted(words[5])
    reader = EfgReader(words[6 if comment else 5 :], players=len(words[4]))
    return EfgGame(reader.read_tree(), reader.players, max(1, len(reader.labels)))


class InformationSet(NamedTuple):
    """Nodes that their player cannot tell apart, or that chance treats alike."""

    name: str
    actions: tuple[int, ...]  # numbers, from the lowest on
    chances: tuple[float, ...]  # of chance; empty for a player
    labels: tuple[str, ...]  # of the actions, in the order of the file, which is that of children


@dataclass(slots=True)
class EfgNode:
    """A node, as a walk asks for it."""

    mover: int  # CHANCE, END or a player
    number: int  # of its information set, among those of the mover
    options: InformationSet
    earned: Payoffs  # so far
    children: list["EfgNode"] = field(default_factory=list)

    def current_player(self) -> int:
        return self.mover

    def is_terminal(self) -> bool:
        return self.mover == END

    def legal_actions(self) -> list[int]:
        return list(self.options.actions)

    def action_to_string(self, player: int, action: int) -> str:
        return self.options.labels[self.options.actions.index(action)]

    def child(self, action: int) -> "EfgNode":
        return self.children[self.options.actions.index(action)]

    def chance_outcomes(self) -> list[tuple[int, float]]:
        return list(zip(self.options.actions, self.options.chances, strict=True))

    def returns(self) -> list[float]:
        return list(map(float, self.earned))

    def information_state_string(self, player: int) -> str:
        return f"{self.mover}-{player}-{self.number}-{self.options.name}"  # as OpenSpiel has it


@dataclass
class EfgGame:
    """The game of a .efg file, as a walk asks for it; it is its own type."""

    root: EfgNode
    players: int
    actions: int

    provides_information_state_string = True
    provides_information_state_tensor = False
    provides_observation_tensor = False

    def get_type(self) -> "EfgGame":
        return self

    def num_players(self) -> int:
        return self.players

    def num_distinct_actions(self) -> int:
        return self.actions

    def new_initial_state(self) -> EfgNode:
        return self.root


NO_OPTIONS = InformationSet("", (), (), ())


class EfgReader:
    """Reads node after node, and remembers what sets and outcomes were described as. Raises ValueError."""

    def __init__(self, words: list[Any], players: int):
        self.words, self.place, self.nodes, self.players = words, 0, 0, players
        self.labels: dict[tuple[str, int], int] = {}  # the number of an action: by label, and which with it in its set
        self.sets: dict[tuple[int, int], InformationSet] = {}  # by mover and number
        self.outcomes: dict[int, Payoffs] = {0: (Fraction(0),) * players}

    def read_tree(self) -> EfgNode:
        """All nodes, below the first."""
        root = self.read_node(self.outcomes[0])
        path = [root]
        while path:
            parent = path[-1]
            if len(parent.children) == len(parent.options.actions):
                path.pop()
            else:
                path.append(self.read_node(parent.earned))
                parent.children.append(path[-1])
        if self.place < len(self.words):
            raise ValueError(f"the tree is complete after {self.nodes} nodes, and then comes {self.peek()!r}")
        return root

    def read_node(self, earned: Payoffs) -> EfgNode:
        """One node below one that has `earned` so much."""
        self.nodes += 1
        try:
            mover, number, options = self.read_options(self.take())
            paid = self.read_outcome()
        except ValueError as error:
            raise ValueError(f"node {self.nodes}: {error}") from error
        return EfgNode(mover, number, options, tuple(map(sum, zip(earned, paid, strict=True))))  # type: ignore[arg-type]

    def read_options(self, kind: Any) -> tuple[int, int, InformationSet]:
        """Who moves at a node, in which information set, and how."""
        if kind not in ("c", "p", "t"):
            raise ValueError(f"it must begin with c, p or t, not with {kind!r}")
        if not quoted(name := self.take()):
            raise ValueError(f"after {kind} must come its name in quotes, not {name!r}")
        if kind == "t":
            return END, 0, NO_OPTIONS
        mover = CHANCE if kind == "c" else self.whole() - 1
        if kind == "p" and not 0 <= mover < self.players:
            raise ValueError(f"there is no player {mover + 1}, but {self.players} of them")
        number = self.whole()
        return mover, number, self.read_set(mover, number)

    def read_set(self, mover: int, number: int) -> InformationSet:
        """An information set, described here or before."""
        owner = "chance" if mover == CHANCE else f"player {mover + 1}"
        name = self.take()[1:-1] if quoted(self.peek()) else ""
        before = self.sets.get((mover, number))
        if not isinstance(self.peek(), list):
            if before is None:
                raise ValueError(f"information set {number} of {owner} has no actions where it first appears")
            return before
        options = self.chance_set(name, self.take()) if mover == CHANCE else self.player_set(name, self.take())
        if not options.actions:
            raise ValueError(f"information set {number} of {owner} has no actions")
        if before is not None and options[1:] != before[1:]:
            raise ValueError(f"information set {number} of {owner} is not what it was before")
        return self.sets.setdefault((mover, number), options)

    def player_set(self, name: str, words: list[Any]) -> InformationSet:
        """An information set of a player, of labels."""
        if not all(map(quoted, words)):
            raise ValueError(f"actions must be names in quotes, not {words}")
        labels = [(word, words[:place].count(word)) for place, word in enumerate(words)]
        numbers = sorted(self.labels.setdefault(each, len(self.labels)) for each in labels)
        return InformationSet(name, tuple(numbers), (), tuple(word[1:-1].replace('\\"', '"') for word in words))

    def chance_set(self, name: str, words: list[Any]) -> InformationSet:
        """What chance may do, and how probably; what is rounded is made to add up."""
        labels, chances = words[::2], [fraction(word) for word in words[1::2]]
        if len(labels) != len(chances) or not all(map(quoted, labels)):
            raise ValueError(f"chance needs pairs of a name in quotes and a probability, not {words}")
        check_distributions("the probabilities of chance", [float(each) for each in chances])
        shares = tuple(float(each / sum(chances)) for each in chances)
        return InformationSet(name, tuple(range(len(labels))), shares, tuple(label[1:-1] for label in labels))

    def read_outcome(self) -> Payoffs:
        """What is paid at a node (P,), by an outcome that is described here or before."""
        number = self.whole()
        if quoted(self.peek()):
            self.take()
        before = self.outcomes.get(number)
        if not isinstance(self.peek(), list):
            if before is None:
                raise ValueError(f"outcome {number} has no payoffs where it first appears")
            return before
        payoffs = tuple(fraction(word) for word in self.take())
        if len(payoffs) != self.players:
            raise ValueError(f"outcome {number} has {len(payoffs)} payoffs for {self.players} players")
        if before is not None and payoffs != before:
            raise ValueError(f"outcome {number} does not pay what it paid before")
        return self.outcomes.setdefault(number, payoffs)

    def peek(self) -> Any:
        """The next word or list; nothing at the end."""
        return self.words[self.place] if self.place < len(self.words) else None

    def take(self) -> Any:
        """The next word or list, and goes on."""
        if self.place == len(self.words):
            raise ValueError("the file ends before the tree does")
        self.place += 1
        return self.words[self.place - 1]

    def whole(self) -> int:
        """The next word as a number of something."""
        word = self.take()
        if not isinstance(word, str) or not word.isdecimal():
            raise ValueError(f"{word!r} is no whole number")
        return int(word)
