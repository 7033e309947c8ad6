"""Games in normal form: equilibria, ratings and learning dynamics."""

from solvers.normal_form.catalogue import META
from solvers.normal_form.solver import NormalForm

__all__ = ["META", "NormalForm"]
