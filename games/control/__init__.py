"""Continuous control: Gymnasium tasks, and preferences between trajectories."""

from games.control.gymnasium import Control
from games.control.trajectory_preference import TrajectoryPreference

__all__ = ["Control", "TrajectoryPreference"]
