"""A table: one game under way, in which people play some seats and the policies of a profile the others."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch

from marl_engine.capabilities import capabilities_of, spaces_of
from marl_engine.errors import Refused
from marl_engine.play.narration import Narration
from marl_engine.play.seating import PeopleSeating
from marl_engine.rollout.rollout import LONGEST, open_games, play_turns
from marl_engine.types import Game, Profile

IDLE = ("stay", "noop", "no_action", "nothing", "wait")  # names of actions that do nothing, best first


class Move(NamedTuple):
    """A legal action, with its name and the cell of the board (row, column) that it changes."""

    action: int
    name: str
    cell: tuple[int, int] | None = None


class Table:
    """One game, which is a function of its seed and of the actions of people.

    Attributes: `turn`, the turn that is to be played; `payoffs` (P,), what the seats have earned; `actions` (T, P), all
    decisions so far; `log`, the moves that `viewer` can tell, as pairs of a seat and a name; `over`.
    """

    def __init__(
        self, game: Game, profile: Profile, people: Collection[int], seed: int, *, viewer: int, greedy: bool = False
    ):
        self.game, self.people, self.seed, self.viewer, self.greedy = deepcopy(game), people, seed, viewer, greedy
        self.capabilities = capabilities_of(self.game)
        narrated = self.capabilities.narrated
        self.narration: Narration | None = None if narrated is None else narrated.narrate(seed)
        extensive = self.capabilities.extensive
        self.sets = [] if self.narration is not None or extensive is None else extensive.information_sets()
        self.turn, seeds = open_games(self.game, torch.tensor([seed]))
        self.seating = PeopleSeating(profile, people, seeds.device)
        self.decisions = play_turns(self.game, self.seating, self.turn, seeds, turns=LONGEST, greedy=greedy)
        self.payoffs = [0.0] * game.players
        self.actions: list[list[int]] = []
        self.log: list[tuple[int, str]] = []
        self.over = False
        self.real_time = self.capabilities.drawable is not None and bool(self.turn.acting.all())

    @property
    def acting(self) -> list[int]:
        """The seats whose move it is; none if the game is over."""
        return [] if self.over else self.turn.acting[0].nonzero()[:, 0].tolist()

    @torch.no_grad()
    def advance(self, choices: Mapping[int, int]) -> None:
        """Plays one decision, with the actions of people by seat. Raises Refused for illegal ones."""
        for seat in self.acting:
            if seat in self.people:
                self.check(seat, choices.get(seat))
        self.seating.choose(choices)
        decision = next(self.decisions, None)
        if decision is None:
            self.over = True
            return
        actions = decision.action[0].tolist()
        self._tell(actions)
        self.actions.append(actions)
        self.turn, rewards = decision.after, decision.after.reward[0].tolist()
        self.payoffs = [earned + reward for earned, reward in zip(self.payoffs, rewards, strict=True)]
        self.over = bool(decision.after.done)

    def check(self, seat: int, action: Any) -> None:
        """Raises Refused unless a seat may take an action now."""
        legal = self.turn.legal[0, seat].nonzero()[:, 0].tolist() if seat in self.acting else []
        if action not in legal:
            raise Refused(f"action {action} is illegal now for seat {seat}; choose from {legal}")

    def moves(self, seat: int) -> list[Move]:
        """Returns the legal actions of a seat, if it is to move, with the names that the game gives them."""
        if seat not in self.acting:
            return []
        if self.narration is not None:
            return [Move(*each) for each in self.narration.moves(seat)]
        actions = self.turn.legal[0, seat].nonzero()[:, 0].tolist()
        return [Move(action, name) for action, name in zip(actions, self._names(seat, actions), strict=True)]

    def text(self, seat: int) -> str:
        """Returns what a seat observes in words; an empty text if the game has no words for it."""
        if self.narration is not None:
            return self.narration.observation(seat)
        number = self._information_set(seat)
        return "" if number is None else number[0]

    def idle_action(self) -> int:
        """Returns the action of a seat in real time whose player does nothing."""
        names = spaces_of(self.game).action.names
        return next((names.index(name) for name in IDLE if name in names), 0)

    def picture(self, caption: str) -> np.ndarray | None:
        """Returns a picture (H, W, 3) uint8 of the game, if it draws itself."""
        drawable = self.capabilities.drawable
        return None if drawable is None else np.asarray(drawable.render(0, caption))

    def _names(self, seat: int, actions: list[int]) -> list[str]:
        """Returns names of a seat's legal actions: those of its information set or of the game, or numbers."""
        information_set = self._information_set(seat)
        if information_set is not None:
            return information_set[1]
        names = spaces_of(self.game).action.names
        return [names[action] if names else str(action) for action in actions]

    def _information_set(self, seat: int) -> tuple[str, list[str]] | None:
        """Returns the information set of a seat that is to move, if the game has such sets."""
        if not self.sets or seat not in self.acting:
            return None
        return self.sets[int(self.turn.observation[0, seat, 0])]

    def _tell(self, actions: list[int]) -> None:
        """Writes the moves of a decision into the log, those that the viewer can tell."""
        if self.narration is not None:
            self.log += self.narration.apply(actions, self.viewer).items()
        elif not self.real_time:
            moves = {seat: {move.action: move.name for move in self.moves(seat)} for seat in self.acting}
            self.log += [(seat, names[actions[seat]]) for seat, names in moves.items()]


def check_playable(game: Any) -> None:
    """Raises Refused unless people can play a game: its actions must be numbered."""
    spaces = capabilities_of(game).spaces
    name = type(game).__name__
    if spaces is None:
        raise Refused(f"{name} is not played in turns, so nobody can sit down to it")
    if spaces.action.is_box or spaces.action.branches:
        raise Refused(f"the actions of {name} are no single choice from a list, which the page needs")
