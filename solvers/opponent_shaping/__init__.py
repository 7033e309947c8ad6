"""Opponent shaping: learning that anticipates the opponents' next step."""

from solvers.opponent_shaping.lola import LOLA

__all__ = ["LOLA"]
