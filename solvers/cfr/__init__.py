"""Counterfactual regret minimisation and its relatives."""

from solvers.cfr.cfr import CFR
from solvers.cfr.mccfr import MCCFR

__all__ = ["CFR", "MCCFR"]
