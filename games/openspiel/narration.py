"""A game of OpenSpiel for people: what a seat sees, the names of its moves, and the moves of others that it can tell.

A seat can tell a move if every other move in its place would have changed what the seat sees. That needs no list of
games with hidden moves. After the end everything is shown.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from games.openspiel.states import CHANCE, SIMULTANEOUS, chance_noise, sample

LARGEST_BOARD = 400  # characters of a text in which the cells of moves are looked for


class NamedMove(NamedTuple):
    """A legal action, its name, and the row and column of the one character of the board that it changes, if any."""

    action: int
    name: str
    cell: tuple[int, int] | None


class Narration:
    """One game with the chance moves of a copy with a seed, as `OpenSpiel` and `OpenSpielStates` play it."""

    def __init__(self, game: Any, seed: int):
        from pyspiel import GameType

        kind = game.get_type()
        self.game, self.noise = game, chance_noise(seed, 0)
        self.is_open = kind.information == GameType.Information.PERFECT_INFORMATION
        self.shows_observations = kind.provides_observation_string and (
            self.is_open or not kind.provides_information_state_string
        )
        self.state = self._settle(game.new_initial_state())
        while self.state.is_terminal():  # nobody had anything to decide
            self.state = self._settle(game.new_initial_state())

    def observation(self, seat: int) -> str:
        """Returns what a seat sees: the board, or all that it knows; after the end the whole state."""
        return str(self.state) if self.state.is_terminal() else self._view(self.state, seat)

    def moves(self, seat: int) -> list[NamedMove]:
        """Returns the legal moves of a seat; none if it is not to move."""
        state = self.state
        actions = [] if state.is_terminal() else state.legal_actions(seat)
        return [NamedMove(action, state.action_to_string(seat, action), self._cell(seat, action)) for action in actions]

    def apply(self, actions: Sequence[int], viewer: int) -> dict[int, str]:
        """Plays the actions (P,) of one decision; returns the names of those that the viewer can tell, by seat."""
        state, movers = self.state, self._movers()
        names = {seat: state.action_to_string(seat, actions[seat]) for seat in movers}
        visible = {seat: name for seat, name in names.items() if self._can_tell(actions, seat, viewer)}
        self.state = self._settle(successor(state, actions))
        return names if self.state.is_terminal() else visible

    def _movers(self) -> list[int]:
        """Returns the seats that decide now; in simultaneous moves those with a choice."""
        mover = self.state.current_player()
        seats: Iterable[int] = range(self.game.num_players()) if mover == SIMULTANEOUS else (mover,)
        return [seat for seat in seats if self.state.legal_actions(seat)]

    def _can_tell(self, actions: Sequence[int], mover: int, viewer: int) -> bool:
        """Whether what the viewer sees after the actions (P,) differs from that after any other action of a seat."""
        if mover == viewer:
            return True
        sight = self._view(successor(self.state, actions), viewer)
        others = [action for action in self.state.legal_actions(mover) if action != actions[mover]]
        return all(
            self._view(successor(self.state, [*actions[:mover], other, *actions[mover + 1 :]]), viewer) != sight
            for other in others
        )

    def _cell(self, seat: int, action: int) -> tuple[int, int] | None:
        """Returns the row and column of the one character of an open board that an action changes, if it is one."""
        if not self.is_open or self.state.current_player() != seat:
            return None
        before, after = (self._view(state, seat) for state in (self.state, self.state.child(action)))
        if len(before) != len(after) or len(before) > LARGEST_BOARD:
            return None
        changes = [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
        if len(changes) != 1:
            return None
        above = before[: changes[0]]
        return above.count("\n"), len(above) - (above.rfind("\n") + 1)

    def _view(self, state: Any, seat: int) -> str:
        text: str = (state.observation_string if self.shows_observations else state.information_state_string)(seat)
        return text

    def _settle(self, state: Any) -> Any:
        """Plays chance until somebody decides or the game is over; returns the state."""
        while state.current_player() == CHANCE:
            state.apply_action(sample(state.chance_outcomes(), next(self.noise)))
        return state


def successor(state: Any, actions: Sequence[int]) -> Any:
    """Returns the state after the actions (P,) of those who decide in a state. A seat without a choice takes 0."""
    mover = state.current_player()
    if mover != SIMULTANEOUS:
        return state.child(actions[mover])
    after = state.clone()
    after.apply_actions([action if state.legal_actions(seat) else 0 for seat, action in enumerate(actions)])
    return after
