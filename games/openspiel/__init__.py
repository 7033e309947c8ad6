"""Games of OpenSpiel, compiled into arrays or played through its states."""

from games.openspiel.game import OpenSpiel
from games.openspiel.openings import RandomOpenings
from games.openspiel.states import OpenSpielStates

__all__ = ["OpenSpiel", "OpenSpielStates", "RandomOpenings"]
