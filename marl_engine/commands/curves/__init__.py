"""The curves of runs, and labels that name runs by what differs between them."""
