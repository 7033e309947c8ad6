"""Mirror descent in self-play, with a look-ahead, a forecast, a mixture or a moving target."""

from solvers.mirror_descent.mdpo import MDPO
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_ema import NashEMA
from solvers.mirror_descent.nash_md import NashMD
from solvers.mirror_descent.nash_prox import NashProx
from solvers.mirror_descent.omwu import OMWU
from solvers.mirror_descent.r_nad import RNaD

__all__ = ["MDPO", "MMD", "MirrorProx", "NashEMA", "NashMD", "NashProx", "OMWU", "RNaD"]
