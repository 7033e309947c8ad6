"""Distributions over actions: one choice, several independent choices, and continuous numbers."""
