"""Seconds that an iteration of OpenSpiel's JaxCFR takes, by CFR+, and how good its average is after a few.

Run by `benchmarks/cfr_speed.py` with the Python of that package: `openspiel_jax_cfr.py PEER GAME ITERATIONS SECONDS`.
Prints one line of JSON. Iterations are waited for ITERATIONS at a time, for they are queued; compiling is left out.
Arrays that are not there after LIMIT seconds count as an iteration of LIMIT seconds, and the line says so.
"""

import json
import os
import sys
import time
from threading import Timer

import jax
import pyspiel
from open_spiel.python.jax.cfr.jax_cfr import JaxCFR
from openspiel_cfr import nash_conv

LIMIT = 900  # seconds


def main(name: str, iterations: int, seconds: float) -> None:
    """Prints the line."""
    start = time.perf_counter()
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    solver, results = JaxCFR(game), []  # its defaults are those of CFR+
    advance(solver, iterations)
    ready = time.perf_counter() - start
    distance = nash_conv(game, solver.average_policy())
    begun = time.perf_counter()
    while not results or time.perf_counter() < begun + seconds:
        start = time.perf_counter()
        advance(solver, iterations)
        results.append((time.perf_counter() - start) / iterations)
    note = f"{ready:.0f} s to build and compile"
    print(json.dumps({"seconds": sorted(results)[len(results) // 2], "nash_conv": distance, "note": note}))


def advance(solver: JaxCFR, iterations: int) -> None:
    """So many iterations, done and not only asked for."""
    solver.multiple_steps(iterations)
    jax.block_until_ready((solver.regrets, solver.averages))


def give_up() -> None:
    """Prints the line of a game that is too large, and ends the process, whatever it is doing."""
    note = f"not ready after {LIMIT} s"
    print(json.dumps({"seconds": LIMIT, "nash_conv": float("nan"), "note": note}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    clock = Timer(LIMIT, give_up)
    clock.start()
    main(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    clock.cancel()
