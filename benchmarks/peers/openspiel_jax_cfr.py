"""Measures the seconds of an iteration of CFR+ by OpenSpiel's JaxCFR, and NashConv of the average after ITERATIONS.

Called by `benchmarks/cfr_speed.py` with the Python of the peer's environment:
`openspiel_jax_cfr.py PEER GAME ITERATIONS SECONDS`. Prints one line of JSON. JAX runs asynchronously, so the clock is
read after every ITERATIONS iterations; compilation is not included. If arrays are not built within LIMIT seconds, LIMIT
is reported as the time of an iteration, with a note.
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
    """Prints the result as a line of JSON."""
    start = time.perf_counter()
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    solver, results = JaxCFR(game), []  # its defaults are those of CFR+
    advance(solver, iterations)
    ready = time.perf_counter() - start
    distance = nash_conv(game, solver.average_policy())
    end = time.perf_counter() + seconds
    while not results or time.perf_counter() < end:
        start = time.perf_counter()
        advance(solver, iterations)
        results.append((time.perf_counter() - start) / iterations)
    note = f"{ready:.0f} s to build and compile"
    print(json.dumps({"seconds": sorted(results)[len(results) // 2], "nash_conv": distance, "note": note}))


def advance(solver: JaxCFR, iterations: int) -> None:
    """Runs a number of iterations, and waits until they are done."""
    solver.multiple_steps(iterations)
    jax.block_until_ready((solver.regrets, solver.averages))


def give_up() -> None:
    """Prints the result for a game that is too large, and ends the process."""
    note = f"not ready after {LIMIT} s"
    print(json.dumps({"seconds": LIMIT, "nash_conv": float("nan"), "note": note}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    clock = Timer(LIMIT, give_up)
    clock.start()
    main(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    clock.cancel()
