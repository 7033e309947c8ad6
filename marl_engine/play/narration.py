"""What `capabilities.NarratedGame.narrate` returns."""

from collections.abc import Sequence
from typing import Protocol


class Narration(Protocol):
    """One game in words, for people. It takes the decisions of a game and holds none of its copies."""

    def observation(self, seat: int) -> str:
        """Returns what a seat observes; when the game is over, the whole state."""
        ...

    def moves(self, seat: int) -> Sequence[tuple[int, str, tuple[int, int] | None]]:
        """Returns the legal actions of a seat, with names, and the row and column of the board that each marks."""
        ...

    def apply(self, actions: Sequence[int], viewer: int) -> dict[int, str]:
        """Takes the actions (P,) of a decision; returns the names of those that the viewer can tell, by seat."""
        ...
