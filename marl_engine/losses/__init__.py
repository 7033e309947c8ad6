"""Losses and advantage estimation, as pure functions."""
