"""Games of OpenSpiel, compiled into arrays."""

from games.openspiel.game import OpenSpiel

__all__ = ["OpenSpiel"]
