"""Games in normal form: from files, by name, at random, repeated; preference matrices."""

from games.normal_form.games import Matrix, Preference, Random, Raters, Sentences
from games.normal_form.repeated import Iterated

__all__ = ["Iterated", "Matrix", "Preference", "Random", "Raters", "Sentences"]
