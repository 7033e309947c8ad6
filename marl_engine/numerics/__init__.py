"""Numbers: random streams, compiled loops, threads, schedules, distributions and the optimiser."""
