"""Gambit's files: games in normal form (.nfg) and in extensive form (.efg)."""
