"""NashConv of OpenSpiel's C++ solvers against seconds.

Run by `benchmarks/time_to_equilibrium.py` with the Python of that package: `openspiel_equilibrium.py SOLVER GAME
SECONDS GOAL`. Measures after 1, 2, 3, 4, 6, 8, 11, … iterations, which is not counted. Prints one line of JSON.
"""

import json
import sys
import time

import pyspiel

SOLVERS = {"CFR": pyspiel.CFRSolver, "CFR+": pyspiel.CFRPlusSolver}


def main(name: str, game_name: str, seconds: float, goal: float) -> None:
    """Prints the line."""
    game = pyspiel.load_game(game_name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    solver, spent, done, following, curve = SOLVERS[name](game), 0.0, 0, 1, []
    while spent < seconds and (not curve or curve[-1][1] > goal):
        start = time.perf_counter()
        while done < following and spent + time.perf_counter() - start < seconds:
            solver.evaluate_and_update_policy()
            done += 1
        spent += time.perf_counter() - start
        curve.append((spent, pyspiel.nash_conv(game, solver.tabular_average_policy())))
        following = max(following + 1, int(following * 1.4))
    print(json.dumps({"curve": curve}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
