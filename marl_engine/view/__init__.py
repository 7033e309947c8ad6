"""The display of a run: progress in the terminal, and plots."""
