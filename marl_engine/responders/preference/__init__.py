"""Learning from preferences between answers or trajectories."""

from marl_engine.responders.preference.responder import PreferenceResponder

__all__ = ["PreferenceResponder"]
