"""Reader of Gambit's .efg files, games in extensive form (Gambit's manual, "Game representation formats").

    EFG 2 R "title" { "player 1" "player 2" } "comment"
    c "node" 1 "set" { "left" 1/3 "right" 2/3 } 0
    p "node" 2 1 "set" { "left" "right" } 1 "outcome" { 1, -1 }
    t "node" 2 "outcome" { 0, .5 }

A node belongs to chance or a player, or is terminal. Nodes are in depth-first order, children in the order of actions.
Information sets and outcomes are numbered, and described only at their first appearance. An outcome pays at any node,
including inner nodes: a player's payoff is the sum along the path. Outcome 0 pays nothing.

Actions are numbered as in OpenSpiel's efg_game, so strategies can be exchanged: labels are numbered in the order of
their first appearance, and equal labels in one information set get the next free numbers. Nodes have those methods of
pyspiel's states that the tree walk of `games.openspiel` calls.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from games.gambit.nfg import is_quoted, parse_braces, parse_fraction
from marl_engine.extensive_form.tree import CHANCE, END
from marl_engine.numerics.checks import check_distributions

Payoffs = tuple[Fraction, ...]  # (P,)


def efg_path(name: str) -> str | None:
    """Returns the file named by a game string "x.efg" or "efg_game(filename=x.efg)"; None for other strings."""
    match = re.fullmatch(r"efg_game\(filename=(.*)\)|(.*\.efg)", name, re.DOTALL | re.IGNORECASE)
    return match and (match[1] or match[2])


def load_efg(path: str) -> "EfgGame":
    """Loads the game in a .efg file. Raises ValueError."""
    try:
        return parse_efg(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def parse_efg(text: str) -> "EfgGame":
    """Parses the text of a .efg file. Raises ValueError."""
    words = parse_braces(text)
    if words[:2] != ["EFG", "2"] or words[2:3] not in (["R"], ["D"]):
        raise ValueError("it does not begin with EFG 2 R")
    if len(words) < 5 or not is_quoted(words[3]) or not isinstance(words[4], list) or not words[4]:
        raise ValueError("after EFG 2 R must come a title and { players }")
    comment = words[5:6] and is_quoted(words[5])
    reader = EfgReader(words[6 if comment else 5 :], players=len(words[4]))
    return EfgGame(reader.read_tree(), reader.players, max(1, len(reader.labels)))


class InformationSet(NamedTuple):
    """Nodes that their player cannot distinguish, or chance nodes with the same probabilities."""

    name: str
    actions: tuple[int, ...]  # numbers, ascending
    chances: tuple[float, ...]  # probabilities of chance; empty for a player
    labels: tuple[str, ...]  # of actions in the order of the file, which is the order of children


@dataclass(slots=True)
class EfgNode:
    """A node with the interface of pyspiel's State."""

    mover: int  # CHANCE, END or a player
    number: int  # of the information set among those of the mover
    options: InformationSet
    earned: Payoffs  # on the path so far
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
        return f"{self.mover}-{player}-{self.number}-{self.options.name}"  # as in OpenSpiel


@dataclass
class EfgGame:
    """The game of a .efg file with the interface of pyspiel's Game and GameType."""

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
    """Reads one node after another and remembers descriptions of information sets and outcomes.

    Raises ValueError.
    """

    def __init__(self, words: list[Any], players: int):
        self.words, self.place, self.nodes, self.players = words, 0, 0, players
        self.labels: dict[
            tuple[str, int], int
        ] = {}  # number of an action, by label and count of equal labels in its set
        self.sets: dict[tuple[int, int], InformationSet] = {}  # by mover and number
        self.outcomes: dict[int, Payoffs] = {0: (Fraction(0),) * players}

    def read_tree(self) -> EfgNode:
        """Reads all nodes; returns the root."""
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
        """Reads a node and its descendants. `earned` are the payoffs on the path above."""
        self.nodes += 1
        try:
            mover, number, options = self.read_options(self.take())
            paid = self.read_outcome()
        except ValueError as error:
            raise ValueError(f"node {self.nodes}: {error}") from error
        return EfgNode(mover, number, options, tuple(map(sum, zip(earned, paid, strict=True))))  # type: ignore[arg-type]

    def read_options(self, kind: Any) -> tuple[int, int, InformationSet]:
        """Reads who moves at a node, and its information set."""
        if kind not in ("c", "p", "t"):
            raise ValueError(f"it must begin with c, p or t, not with {kind!r}")
        if not is_quoted(name := self.take()):
            raise ValueError(f"after {kind} must come its name in quotes, not {name!r}")
        if kind == "t":
            return END, 0, NO_OPTIONS
        mover = CHANCE if kind == "c" else self.take_integer() - 1
        if kind == "p" and not 0 <= mover < self.players:
            raise ValueError(f"there is no player {mover + 1}, but {self.players} of them")
        number = self.take_integer()
        return mover, number, self.read_set(mover, number)

    def read_set(self, mover: int, number: int) -> InformationSet:
        """Reads an information set, or looks up one described before."""
        owner = "chance" if mover == CHANCE else f"player {mover + 1}"
        name = self.take()[1:-1] if is_quoted(self.peek()) else ""
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
        """Returns an information set of a player from its labels."""
        if not all(map(is_quoted, words)):
            raise ValueError(f"actions must be names in quotes, not {words}")
        labels = [(word, words[:place].count(word)) for place, word in enumerate(words)]
        numbers = sorted(self.labels.setdefault(each, len(self.labels)) for each in labels)
        return InformationSet(name, tuple(numbers), (), tuple(word[1:-1].replace('\\"', '"') for word in words))

    def chance_set(self, name: str, words: list[Any]) -> InformationSet:
        """Returns the actions of chance with their probabilities; rounded probabilities are normalised."""
        labels, chances = words[::2], [parse_fraction(word) for word in words[1::2]]
        if len(labels) != len(chances) or not all(map(is_quoted, labels)):
            raise ValueError(f"chance needs pairs of a name in quotes and a probability, not {words}")
        check_distributions("the probabilities of chance", [float(each) for each in chances])
        shares = tuple(float(each / sum(chances)) for each in chances)
        return InformationSet(name, tuple(range(len(labels))), shares, tuple(label[1:-1] for label in labels))

    def read_outcome(self) -> Payoffs:
        """Reads the payoffs (P,) of an outcome, or looks up one described before."""
        number = self.take_integer()
        if is_quoted(self.peek()):
            self.take()
        before = self.outcomes.get(number)
        if not isinstance(self.peek(), list):
            if before is None:
                raise ValueError(f"outcome {number} has no payoffs where it first appears")
            return before
        payoffs = tuple(parse_fraction(word) for word in self.take())
        if len(payoffs) != self.players:
            raise ValueError(f"outcome {number} has {len(payoffs)} payoffs for {self.players} players")
        if before is not None and payoffs != before:
            raise ValueError(f"outcome {number} does not pay what it paid before")
        return self.outcomes.setdefault(number, payoffs)

    def peek(self) -> Any:
        """Returns the next word or list without consuming it; nothing at the end."""
        return self.words[self.place] if self.place < len(self.words) else None

    def take(self) -> Any:
        """Consumes and returns the next word or list."""
        if self.place == len(self.words):
            raise ValueError("the file ends before the tree does")
        self.place += 1
        return self.words[self.place - 1]

    def take_integer(self) -> int:
        """Consumes the next word and returns it as an integer."""
        word = self.take()
        if not isinstance(word, str) or not word.isdecimal():
            raise ValueError(f"{word!r} is no whole number")
        return int(word)
