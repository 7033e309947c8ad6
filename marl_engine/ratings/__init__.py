"""Ratings of entrants from one table of results, and the test whether a single number can describe them."""

from marl_engine.ratings.catalogue import Ranking, rank
from marl_engine.ratings.cycles import Cycles, find_cycles
from marl_engine.ratings.results import Rating, Results

__all__ = ["Cycles", "Ranking", "Rating", "Results", "find_cycles", "rank"]
