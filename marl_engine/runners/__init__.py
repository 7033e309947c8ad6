"""Where pure jobs run."""

from marl_engine.runners.local import LocalRunner

__all__ = ["LocalRunner"]
