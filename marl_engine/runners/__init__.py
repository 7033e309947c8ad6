"""Runners execute independent jobs."""

from marl_engine.runners.local import LocalRunner

__all__ = ["LocalRunner"]
