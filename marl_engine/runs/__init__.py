"""Runs: created from a configuration, iterated, saved in a folder, resumed."""

from marl_engine.runs.players import cross_play, load_player

__all__ = ["cross_play", "load_player"]
