"""Overcooked: cooks share a kitchen, and the team is paid for each soup that it serves."""

from games.overcooked.game import Overcooked
from games.overcooked.openings import Staggered

__all__ = ["Overcooked", "Staggered"]
