"""Learning that counts on the opponents' next step."""

from solvers.opponent_shaping.lola import LOLA

__all__ = ["LOLA"]
