"""Games in normal form: from files, by name, at random, repeated; preference matrices."""

from games.normal_form.games import MatrixGame, PreferenceMatrix, RandomGame, RaterMatrix, SentenceMatrix
from games.normal_form.repeated import RepeatedGame

__all__ = ["RepeatedGame", "MatrixGame", "PreferenceMatrix", "RandomGame", "RaterMatrix", "SentenceMatrix"]
