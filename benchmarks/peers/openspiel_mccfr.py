"""Measures the seconds of an iteration of OpenSpiel's Monte Carlo CFR, and NashConv of the average after ITERATIONS.

Called by `benchmarks/mccfr_speed.py` with the Python of the peer's environment:
`openspiel_mccfr.py SAMPLING GAME ITERATIONS SECONDS SEED`. Prints one line of JSON.
"""

import json
import sys
import time

import pyspiel

STRETCHES = 40  # of equally many iterations; their median is the result


def main(sampling: str, name: str, iterations: int, seconds: float, seed: int) -> None:
    """Prints the result as a line of JSON."""
    game = pyspiel.load_game(name)
    if sampling == "external":
        solver = pyspiel.ExternalSamplingMCCFRSolver(game, seed)
    else:
        solver = pyspiel.OutcomeSamplingMCCFRSolver(game, 0.6, seed)
    count = max(1, int(iterations * seconds / STRETCHES / time_iterations(solver, iterations)))
    distance = pyspiel.nash_conv(game, solver.average_policy(), True)
    result = sorted(time_iterations(solver, count) / count for _ in range(STRETCHES))
    print(json.dumps({"seconds": result[STRETCHES // 2], "nash_conv": distance}))


def time_iterations(solver, iterations: int) -> float:
    """Returns the seconds that a number of iterations take."""
    start = time.perf_counter()
    for _ in range(iterations):
        solver.run_iteration()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
