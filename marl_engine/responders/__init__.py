"""Responders move a profile by one regularised step: exactly, by policy gradients, off-policy, or by values."""

from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.gradient_ascent import GradientAscent
from marl_engine.responders.off_policy import SAC, QLearning
from marl_engine.responders.ppo import PPO
from marl_engine.responders.team_ascent import TeamAscent

__all__ = ["GradientAscent", "ExactResponder", "PPO", "QLearning", "SAC", "TeamAscent"]
