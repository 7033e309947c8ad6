"""Who plays whom: one paper, one file."""
