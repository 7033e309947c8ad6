"""OpenSpiel's games, compiled into arrays."""

from games.openspiel.game import OpenSpiel

__all__ = ["OpenSpiel"]
