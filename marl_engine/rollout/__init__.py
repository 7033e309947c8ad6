"""Play: stretches of play to learn from, whole games to score, opponents and levels drawn for each copy."""

from marl_engine.rollout.levels import Stages

__all__ = ["Stages"]
