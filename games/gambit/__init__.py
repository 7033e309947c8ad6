"""Readers of Gambit files: games in normal form (.nfg) and in extensive form (.efg)."""
