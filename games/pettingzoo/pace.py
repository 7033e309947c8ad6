"""Chooses between stepping copies in this process and in worker processes, by a measurement."""

from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.threads import count_free_cores
from marl_engine.rollout.game_contract import random_actions

COPIES = 16  # of a measurement
SECONDS = 0.15  # of a measurement
LIGHT = 2e-3  # seconds of a step of all copies, below which processes are not tried: they only pay for their messages
GAIN = 1.2  # how much faster processes must be
MEASURED: dict[str, int] = {}  # numbers of workers, by environment and arguments


def choose_workers(game: Any) -> int:
    """Returns the number of worker processes with which a `PettingZoo` game is fastest; 0: none.

    It is measured once for an environment, with random play. Processes are as many as there are free cores.
    """
    key = repr((game.env, game.arguments))
    if key not in MEASURED:
        cores, alone = count_free_cores(), time_step(replace(game, workers=0))
        gains = cores > 1 and alone > LIGHT and alone > GAIN * time_step(replace(game, workers=min(cores, COPIES)))
        MEASURED[key] = cores if gains else 0
    return MEASURED[key]


def time_step(game: Any) -> float:
    """Returns the seconds that a step of all copies takes: the median, since other programs may stop this one."""
    turn = game.reset(derive_seeds(0, COPIES))
    seconds: list[float] = []
    while sum(seconds) < SECONDS:
        start = perf_counter()
        turn = game.step(random_actions(game, turn, len(seconds)))
        seconds.append(perf_counter() - start)
    return median(seconds)
