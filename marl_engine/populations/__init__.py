"""Populations of frozen policies with their payoff tables."""

from marl_engine.populations.population import Population

__all__ = ["Population"]
