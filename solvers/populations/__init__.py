"""Populations of strategies: PSRO, double oracle, fictitious play."""

from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle
from solvers.populations.fictitious_play import FictitiousPlay
from solvers.populations.psro import PSRO

__all__ = ["PSRO", "AnytimeDoubleOracle", "FictitiousPlay"]
