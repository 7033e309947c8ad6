"""Runners execute independent jobs."""

from marl_engine.runners.local import LOCAL, LocalRunner

__all__ = ["LOCAL", "LocalRunner"]
