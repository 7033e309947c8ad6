"""Numerical tools: random streams, compiled loops, threads, schedules, distributions and the Adam optimiser."""
