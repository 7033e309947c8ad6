"""Whole games of sampled play by tables in one compiled loop, to measure cells of payoff tables quickly."""

import numpy as np

from marl_engine.numerics.jit import compile_loop
from marl_engine.numerics.rng import mix_word
from solvers.cfr.tree_sampling import (
    CHANCE,
    CHILD,
    COUNT,
    END,
    FIRST,
    MOVER,
    ROOT,
    Paths,
    keyed_uniform,
    sample_chance,
)


def play_games(paths: Paths, strategy: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Returns payoffs (B, P) of a game for each seed (B,) uint64; all players follow a strategy (S,)."""
    earned = np.empty((len(seeds), paths.payoff.shape[1]))
    play_games_compiled(paths, strategy, seeds, earned)
    return earned


@compile_loop
def play_games_compiled(paths, strategy, seeds, earned):
    """Writes the payoffs of game b, a function of seeds[b], into earned[b]."""
    for game in range(seeds.size):
        key, place, history = mix_word(seeds[game]), 0, ROOT
        mover = paths.history[history, MOVER]
        while mover != END:
            noise = keyed_uniform(key, place)
            place += 1
            if mover == CHANCE:
                history = sample_chance(paths, history, noise)
            else:
                first, count = paths.history[history, FIRST], paths.history[history, COUNT]
                since, chosen = 0.0, first
                for sequence in range(first, first + count):
                    if since <= noise and strategy[sequence] > 0:
                        chosen = sequence
                    since += strategy[sequence]
                history = paths.history[history, CHILD] + (chosen - first)
            mover = paths.history[history, MOVER]
        for player in range(earned.shape[1]):
            earned[game, player] = paths.payoff[paths.history[history, FIRST], player]
