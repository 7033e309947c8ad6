"""Measures the seconds of an iteration of OpenSpiel's CFR+, and NashConv of the average strategy after ITERATIONS.

Called by `benchmarks/cfr_speed.py` with the Python of the peer's environment:
`openspiel_cfr.py PEER GAME ITERATIONS SECONDS`. Prints one line of JSON.
"""

import json
import sys
import time

import pyspiel
from open_spiel.python.algorithms import cfr


def main(peer: str, name: str, iterations: int, seconds: float) -> None:
    """Prints the result as a line of JSON."""
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    make = pyspiel.CFRPlusSolver if peer == "OpenSpiel C++" else cfr.CFRPlusSolver
    solver, results = make(game), []
    end = time.perf_counter() + seconds
    while len(results) < iterations or time.perf_counter() < end:
        start = time.perf_counter()
        solver.evaluate_and_update_policy()
        results.append(time.perf_counter() - start)
        if len(results) == iterations:
            average = solver.tabular_average_policy() if peer == "OpenSpiel C++" else solver.average_policy()
            distance = nash_conv(game, average)
    print(json.dumps({"seconds": sorted(results)[len(results) // 2], "nash_conv": distance}))


def nash_conv(game, average) -> float:
    """Returns the NashConv of a policy in Python or C++."""
    if hasattr(average, "policy_table"):
        return pyspiel.nash_conv(game, average)
    table = {
        name: [(action, float(chance)) for action, chance in enumerate(average.policy_for_key(name)) if chance > 0]
        for name in average.state_lookup
    }
    return pyspiel.nash_conv(game, pyspiel.TabularPolicy(table))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
