"""Converts the trees of OpenSpiel's games to arrays, in one depth-first traversal.

Lanctot et al. 2019, arXiv:1908.09453. Some games, such as Hanabi, provide observations but not information states. Then
a player's information state is the sequence of its observations and actions so far; repeated observations count once.
"""

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from marl_engine.extensive_form.sequence_form import SequenceForm, TerminalHistories, build_sequence_form
from marl_engine.extensive_form.tree import CHANCE, END, Tree

LARGEST = 20_000_000  # histories; such a tree takes some gigabytes
WIDEST = 5e8  # bytes for features and legal actions of information sets
TELL_EVERY = 10_000  # histories


class Visit(NamedTuple):
    """A history that has not been visited yet."""

    state: Any
    parent: int  # the parent history; -1: none
    share: float  # the probability of this child
    chance: float  # the probability of chance so far
    last: tuple[int, ...]  # (P,) the last sequence of each player, in order of discovery
    sights: tuple[int, ...]  # (P,) the observation history of each player, if `watched`


class TreeWalk:
    """One traversal and its results, in flat arrays: nested lists would be slower than the game itself."""

    def __init__(self, game: Any, tell: Callable[[int], None], watched: bool):
        kind = game.get_type()
        self.players, self.actions = game.num_players(), game.num_distinct_actions()
        self.tell, self.watched = tell, watched
        self.with_state = kind.provides_information_state_tensor
        self.with_view = not self.with_state and kind.provides_observation_tensor
        self.player, self.infoset, self.parent, self.share = array("b"), array("i"), array("i"), array("d")
        self.payoff, self.last, self.chance = array("d"), array("i"), array("d")  # of terminal histories
        self.known: list[dict[Any, int]] = [{} for _ in range(self.players)]
        self.owner, self.lead, self.first = array("i"), array("i"), array("i", [self.players])
        self.legal: list[tuple[int, ...]] = []
        self.name: list[str] = []
        self.label, self.word = array("i"), dict[str, int]()  # action names: their numbers, and the names
        self.tensor = array("f")
        self.extensions: dict[tuple[int, str], int] = {}  # by earlier observation history and current observation
        self.sight = [""]  # current observation

    def run(self, root: Any) -> None:
        """Visits all histories. Raises ValueError if there are too many, or if a player lacks perfect recall."""
        waiting = [Visit(root, -1, 1.0, 1.0, tuple(range(self.players)), (0,) * self.players)]
        while waiting:
            visit = waiting.pop()
            number = len(self.player)
            if number % TELL_EVERY == 0:
                self._check(number)
            mover = visit.state.current_player()
            self.player.append(max(mover, END))
            self.parent.append(visit.parent)
            self.share.append(visit.share)
            if mover < CHANCE:
                self._end(visit)
            elif mover == CHANCE:
                waiting += reversed(self._chance_children(visit, number))
            else:
                waiting += reversed(self._decision_children(mover, visit, number))

    def _check(self, number: int) -> None:
        """Reports progress. Raises ValueError if the arrays do not fit into memory."""
        self.tell(number)
        if number > LARGEST:
            raise ValueError(f"there are more than {LARGEST:,} histories; choose a smaller game")
        if len(self.owner) * self.actions + 4 * len(self.tensor) > WIDEST:
            raise ValueError(
                f"{len(self.owner):,} information sets with {self.actions:,} actions do not fit; choose a smaller game"
            )

    def _end(self, visit: Visit) -> None:
        """Records a terminal history."""
        self.infoset.append(len(self.chance))
        self.payoff.extend(visit.state.returns())
        self.last.extend(visit.last)
        self.chance.append(visit.chance)

    def _chance_children(self, visit: Visit, number: int) -> list[Visit]:
        """Returns the children of a chance node."""
        self.infoset.append(-1)
        state, chance = visit.state, visit.chance
        return [
            Visit(state.child(action), number, share, chance * share, visit.last, visit.sights)
            for action, share in state.chance_outcomes()
        ]

    def _decision_children(self, mover: int, visit: Visit, number: int) -> list[Visit]:
        """Returns the children of a decision node."""
        state, chance, last = visit.state, visit.chance, visit.last
        sights = self._extend_sights(state, visit.sights) if self.watched else visit.sights
        infoset = self._infoset(state, mover, last[mover], sights[mover])
        self.infoset.append(infoset)
        before, after, first = last[:mover], last[mover + 1 :], self.first[infoset]
        return [
            Visit(state.child(action), number, 1.0, chance, (*before, first + place, *after), sights)
            for place, action in enumerate(self.legal[infoset])
        ]

    def _extend_sights(self, state: Any, sights: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the observation history of each player (P,) extended by the current observation."""
        extended = []
        for player, before in enumerate(sights):
            now = state.observation_string(player)
            if now != self.sight[before]:
                before = self.extensions.setdefault((before, now), len(self.sight))
                if before == len(self.sight):
                    self.sight.append(now)
            extended.append(before)
        return tuple(extended)

    def _infoset(self, state: Any, mover: int, lead: int, sight: int) -> int:
        """Returns the number of a state's information set. Raises ValueError if its player lacks perfect recall."""
        key: Any = (lead, sight) if self.watched else state.information_state_string(mover)
        number = self.known[mover].get(key)
        if number is None:
            number = self.known[mover][key] = len(self.owner)
            self.owner.append(mover)
            self.lead.append(lead)
            self.legal.append(tuple(state.legal_actions()))
            self.first.append(self.first[-1] + len(self.legal[-1]))
            self.name.append(f"{self.sight[sight]} ({number})" if self.watched else key)
            for action in self.legal[-1]:
                word = state.action_to_string(mover, action)
                self.label.append(self.word.setdefault(word, len(self.word)))
            if self.with_state:
                self.tensor.extend(state.information_state_tensor(mover))
            elif self.with_view:
                self.tensor.extend(state.observation_tensor(mover))
        elif self.lead[number] != lead:
            raise ValueError(
                f"player {mover} forgets what it did or knew before {key!r}; exact solvers need perfect recall"
            )
        return number


def walk_tree(game: Any, tell: Callable[[int], None], watched: bool = False) -> tuple[Tree, SequenceForm]:
    """Returns the tree and the sequence form of a sequential pyspiel game.

    `tell` receives the number of visited histories.

    With `watched`, information states are built from observations. Raises ValueError if a player lacks perfect recall,
    and if the arrays do not fit into memory.
    """
    walk = TreeWalk(game, tell, watched)
    walk.run(game.new_initial_state())
    owner, starts = np.array(walk.owner), np.array(walk.first)
    order = np.argsort(owner, kind="stable")  # information sets of player 0, then of player 1, …
    counts = np.diff(starts)
    first = np.concatenate([[walk.players], walk.players + counts[order].cumsum()])
    shift = np.empty_like(counts)  # shift of the sequences of an information set
    shift[order] = first[:-1] - starts[:-1][order]
    sequence = np.arange(starts[-1]) + np.concatenate([np.zeros(walk.players, int), np.repeat(shift, counts)])
    last, payoff = (np.array(each).reshape(-1, walk.players) for each in (walk.last, walk.payoff))
    form = build_sequence_form(
        begin=np.searchsorted(owner[order], np.arange(walk.players + 1)).tolist(),
        parent=sequence[np.array(walk.lead)[order]].tolist(),
        first=first.tolist(),
        ends=TerminalHistories(sequence[last], payoff, np.array(walk.chance)),
    )
    return build_tree(walk, order), form


def build_tree(walk: TreeWalk, order: np.ndarray) -> Tree:
    """Returns the arrays of a traversal with its information sets in the given order."""
    player, infoset, parent = np.array(walk.player), np.array(walk.infoset), np.array(walk.parent[1:])
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    infoset[player >= 0] = rank[infoset[player >= 0]]
    to = (np.argsort(parent, kind="stable") + 1).astype(np.int32)  # children are in the order of their actions
    legal, owner = np.zeros((len(order), walk.actions), bool), np.repeat(rank, np.diff(walk.first))
    legal[owner, [action for each in walk.legal for action in each]] = True
    return Tree(
        player=player,
        infoset=infoset,
        child=np.concatenate([[0], np.bincount(parent, minlength=len(player)).cumsum()]).astype(np.int32),
        to=to,
        chance=np.array(walk.share)[to],
        payoff=np.array(walk.payoff).reshape(-1, walk.players),
        legal=legal,
        tensor=np.array(walk.tensor).reshape(len(order), -1)[order] if walk.tensor else bits(len(order)),
        name=np.array(walk.name, str)[order],
        label=np.array(walk.label, np.int32)[np.argsort(owner, kind="stable")],
        word=np.array(list(walk.word), str),
    )


def bits(count: int) -> np.ndarray:
    """Returns the binary digits (count, D) of the numbers below `count`, lowest first."""
    return (np.arange(count)[:, None] >> np.arange(max(1, (count - 1).bit_length())) & 1).astype(np.float32)
