"""Several runs by one command: all combinations of values, or a population whose members go on from each other."""
