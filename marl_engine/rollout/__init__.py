"""Profiles play games: stretches to learn from, and whole games, at levels that a source may draw."""

from marl_engine.rollout.levels import Stages

__all__ = ["Stages"]
