"""Seconds that an iteration of OpenSpiel's Monte Carlo CFR takes, and how good its average is after some.

Run by `benchmarks/mccfr_speed.py` with the Python of that package: `openspiel_mccfr.py SAMPLING GAME ITERATIONS
SECONDS SEED`. Prints one line of JSON.
"""

import json
import sys
import time

import pyspiel

STRETCHES = 40  # of equally many iterations, whose median is taken


def main(sampling: str, name: str, iterations: int, seconds: float, seed: int) -> None:
    """Prints the line."""
    game = pyspiel.load_game(name)
    if sampling == "external":
        solver = pyspiel.ExternalSamplingMCCFRSolver(game, seed)
    else:
        solver = pyspiel.OutcomeSamplingMCCFRSolver(game, 0.6, seed)
    count = max(1, int(iterations * seconds / STRETCHES / stretch(solver, iterations)))
    distance = pyspiel.nash_conv(game, solver.average_policy(), True)
    result = sorted(stretch(solver, count) / count for _ in range(STRETCHES))
    print(json.dumps({"seconds": result[STRETCHES // 2], "nash_conv": distance}))


def stretch(solver, iterations: int) -> float:
    """Seconds that so many iterations take."""
    start = time.perf_counter()
    for _ in range(iterations):
        solver.run_iteration()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
