"""PettingZoo environments (Terry et al. 2021, arXiv:2009.14471) as games, and games as PettingZoo environments.

Worker processes import this package, so it imports nothing heavy: see `game.PettingZoo` and `export.to_pettingzoo`.
"""
