"""Runners execute independent jobs."""

from marl_engine.runners.local import LOCAL, LocalRunner
from marl_engine.runners.processes import ProcessRunner

__all__ = ["LOCAL", "LocalRunner", "ProcessRunner"]
