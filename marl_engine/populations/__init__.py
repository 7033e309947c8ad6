"""Populations of frozen policies: members, the payoff table of their combinations, and the matches behind it."""

from marl_engine.populations.matches import MatchFile
from marl_engine.populations.payoffs import PayoffTable, Tally
from marl_engine.populations.population import Cell, Population

__all__ = ["Cell", "MatchFile", "PayoffTable", "Population", "Tally"]
