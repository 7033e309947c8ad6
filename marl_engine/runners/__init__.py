"""Where pure jobs run."""

from marl_engine.runners.local import Local

__all__ = ["Local"]
