"""Measures the seconds of an iteration of LiteEFG's CFR+, and NashConv of the linear average after ITERATIONS.

Called by `benchmarks/cfr_speed.py` with the Python of the peer's environment:
`liteefg_cfr.py PEER GAME ITERATIONS SECONDS`. Prints one line of JSON. LiteEFG returns one exploitability for each
player; NashConv is their sum.
"""

import json
import sys
import time

import LiteEFG as leg
import pyspiel
from LiteEFG.baselines.CFRplus import graph


def main(name: str, iterations: int, seconds: float) -> None:
    """Prints the result as a line of JSON."""
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    rule = graph()
    env = leg.OpenSpielEnv(game, traverse_type="Enumerate", regenerate=False)
    env.set_graph(rule)
    result, end = [], time.perf_counter() + seconds
    while len(result) < iterations or time.perf_counter() < end:
        start = time.perf_counter()
        rule.update_graph(env)
        env.update_strategy(rule.current_strategy())
        result.append(time.perf_counter() - start)
        if len(result) == iterations:
            distance = sum(env.exploitability(rule.current_strategy(), "linear-avg-iterate"))
    print(json.dumps({"seconds": sorted(result)[len(result) // 2], "nash_conv": distance}))


if __name__ == "__main__":
    main(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
