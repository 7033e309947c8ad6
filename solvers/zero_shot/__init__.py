"""Zero-shot coordination: best responses to populations of partners, for play with strangers."""

from solvers.zero_shot.e3t import E3T
from solvers.zero_shot.fictitious_coplay import FictitiousCoPlay
from solvers.zero_shot.maximum_entropy import MaximumEntropyPopulation

__all__ = ["E3T", "FictitiousCoPlay", "MaximumEntropyPopulation"]
