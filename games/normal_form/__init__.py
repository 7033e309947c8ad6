"""Games in normal form: by name, from files, random, repeated; and preference matrices."""

from games.normal_form.games import MatrixGame, PreferenceMatrix, RandomGame, RaterMatrix, SentenceMatrix
from games.normal_form.repeated import RepeatedGame

__all__ = ["RepeatedGame", "MatrixGame", "PreferenceMatrix", "RandomGame", "RaterMatrix", "SentenceMatrix"]
