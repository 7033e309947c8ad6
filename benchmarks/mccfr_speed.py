"""Measures the time of an iteration of Monte Carlo CFR in marl_engine and in OpenSpiel's C++.

    python benchmarks/mccfr_speed.py --games leduc_poker --sampling external

An iteration is one traversal for each player, by external sampling or by outcome sampling with an exploration of 0.6.
Both programs run in turn on the same machine, and medians are reported, so that a slow minute affects both. OpenSpiel
has its own environment (`make peers`) and is called from Python, as its users call it. The notes give the NashConv of
both after the same number of iterations, as a median over seeds. The last line is JSON; a ratio above 1 means that
marl_engine is faster.
"""

import argparse
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from cfr_speed import ENVIRONMENT, GAMES, time_iterations
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.paths import paths
from marl_engine.extensive_form.sequence_form import behavior_strategy, nash_conv, realization_plan
from solvers.cfr.mccfr import NO_UNIFORMS
from solvers.cfr.tree_sampling import allocate_state, traverse

EXPLORATION = {"external": 0.0, "outcome": 0.6}
ITERATIONS = 10_000  # after which NashConv of the average strategies is compared
CASES = ("kuhn_poker", "leduc_poker", "liars_dice")
PEER, SCRIPT = "OpenSpiel C++", "openspiel_mccfr.py"


def measure(game: OpenSpiel, sampling: str, iterations: int, seconds: float, seed: int) -> dict[str, float]:
    """Returns what the peer's script returns: the seconds of an iteration, and NashConv after `iterations`."""
    tree, players, exploration = paths(game.tree, game.form), game.players, EXPLORATION[sampling]
    state = allocate_state(*np.zeros((2, game.form.sequences)))
    traverse(tree, state, exploration, seed, 0, iterations * players, NO_UNIFORMS)
    distance = nash_conv(game.form, realization_plan(game.form, behavior_strategy(game.form, state.total)))
    traversals = iterations * players

    def advance(count: int) -> None:
        nonlocal traversals
        traverse(tree, state, exploration, seed, traversals, count * players, NO_UNIFORMS)
        traversals += count * players

    return {"seconds": time_iterations(advance, seconds), "nash_conv": distance}


def compare(case: str, sampling: str, repeats: int, seconds: float) -> Row:
    """Measures marl_engine and the peer in turn, `repeats` times, each time with another seed."""
    game = OpenSpiel(GAMES[case])
    results: list[dict[str, Any]] = []
    peer_results: list[dict[str, Any]] = []
    for seed in range(1, repeats + 1):
        results.append(measure(game, sampling, ITERATIONS, seconds, seed))
        peer_results.append(run_peer(ENVIRONMENT, SCRIPT, sampling, GAMES[case], ITERATIONS, seconds, seed))
    both = (results, peer_results)
    value, peer_value = (median(result["seconds"] for result in program) * 1e6 for program in both)
    distance, peer_distance = (median(result["nash_conv"] for result in program) for program in both)
    note = f"NashConv after {ITERATIONS:,}: {distance:.3f}, peer {peer_distance:.3f}; {1e6 / value:,.0f} iterations/s"
    return Row(f"{case}, {sampling} sampling", PEER, peer_value / value, value, peer_value, "us", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--sampling", nargs="+", default=list(EXPLORATION), choices=list(EXPLORATION))
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a measurement (default 2)")
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    rows = [compare(*each, options.repeats, options.seconds) for each in product(options.games, options.sampling)]
    print_table("One iteration of Monte Carlo CFR", "peer", rows)
    print(format_json("mccfr_speed", rows))


if __name__ == "__main__":
    main()
