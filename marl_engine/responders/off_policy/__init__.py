"""Responders that learn from a replay buffer: soft actor-critic (SAC) and Q-learning with value decomposition."""

from marl_engine.responders.off_policy.q_learning import QLearning
from marl_engine.responders.off_policy.sac import SAC

__all__ = ["SAC", "QLearning"]
