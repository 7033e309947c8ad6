"""Populations of strategies: PSRO and its relatives, (neural) fictitious play, and leagues."""

from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle
from solvers.populations.anytime_psro import AnytimePSRO
from solvers.populations.fictitious_play import FictitiousPlay
from solvers.populations.jpsro import JPSRO
from solvers.populations.league import League
from solvers.populations.nfsp import NFSP
from solvers.populations.pipeline_psro import PipelinePSRO
from solvers.populations.psro import PSRO

__all__ = [
    "JPSRO",
    "NFSP",
    "PSRO",
    "AnytimeDoubleOracle",
    "AnytimePSRO",
    "FictitiousPlay",
    "League",
    "PipelinePSRO",
]
