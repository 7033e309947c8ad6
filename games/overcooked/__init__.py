"""Overcooked: cooks share a kitchen, and the team is paid for each soup that it serves."""

from games.overcooked.game import Overcooked

__all__ = ["Overcooked"]
