"""Free-for-all tournaments of games with more than two seats: as many different entrants as seats meet in a game."""

from marl_engine.tournaments.lineups.free_for_all import FreeForAll

__all__ = ["FreeForAll"]
