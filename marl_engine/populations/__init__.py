"""Populations of frozen policies with their payoff tables."""

from marl_engine.populations.population import Cell, Population

__all__ = ["Cell", "Population"]
