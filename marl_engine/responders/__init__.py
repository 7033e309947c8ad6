"""Responders move a profile one regularised step: exactly, by policy gradients, or off-policy."""

from marl_engine.responders.exact import Exact
from marl_engine.responders.gradient_ascent import Ascent
from marl_engine.responders.ppo import Gradient
from marl_engine.responders.sac import OffPolicy

__all__ = ["Ascent", "Exact", "Gradient", "OffPolicy"]
