"""Populations of strategies: PSRO and its relatives, (neural) fictitious play, and zero-shot coordination."""

from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle
from solvers.populations.e3t import E3T
from solvers.populations.fictitious_coplay import FictitiousCoPlay
from solvers.populations.fictitious_play import FictitiousPlay
from solvers.populations.jpsro import JPSRO
from solvers.populations.league import League
from solvers.populations.maximum_entropy import MaximumEntropyPopulation
from solvers.populations.nfsp import NFSP
from solvers.populations.psro import PSRO

__all__ = [
    "E3T",
    "JPSRO",
    "NFSP",
    "PSRO",
    "AnytimeDoubleOracle",
    "FictitiousCoPlay",
    "FictitiousPlay",
    "League",
    "MaximumEntropyPopulation",
]
