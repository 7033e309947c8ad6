"""Solvers that learn from preferences alone."""

from solvers.preference.dno import DNO
from solvers.preference.reward_model import RewardModelling
from solvers.preference.spo import SPO
from solvers.preference.trajectory_spo import TrajectorySPO

__all__ = ["DNO", "SPO", "RewardModelling", "TrajectorySPO"]
