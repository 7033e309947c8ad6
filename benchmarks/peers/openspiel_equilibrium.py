"""Measures the NashConv of OpenSpiel's C++ solvers against seconds.

Called by `benchmarks/time_to_equilibrium.py` with the Python of the peer's environment:
`openspiel_equilibrium.py SOLVER GAME SECONDS GOAL`. NashConv is computed after 1, 2, 3, 4, 6, 8, 11, … iterations; the
time that this takes is not included. Prints one line of JSON.
"""

import json
import sys
import time

import pyspiel

SOLVERS = {"CFR": pyspiel.CFRSolver, "CFR+": pyspiel.CFRPlusSolver}


def main(name: str, game_name: str, seconds: float, goal: float) -> None:
    """Prints the curve as a line of JSON."""
    game = pyspiel.load_game(game_name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    solver, duration, iteration, checkpoint, curve = SOLVERS[name](game), 0.0, 0, 1, []
    while duration < seconds and (not curve or curve[-1][1] > goal):
        start = time.perf_counter()
        while iteration < checkpoint and duration + time.perf_counter() - start < seconds:
            solver.evaluate_and_update_policy()
            iteration += 1
        duration += time.perf_counter() - start
        curve.append((duration, pyspiel.nash_conv(game, solver.tabular_average_policy())))
        checkpoint = max(checkpoint + 1, int(checkpoint * 1.4))
    print(json.dumps({"curve": curve}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
