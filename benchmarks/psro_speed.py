"""Compares the speed of PSRO with an exact oracle with OpenSpiel's psro_v2, in CPU seconds.

    python benchmarks/psro_speed.py --meta nash --repeats 3

On kuhn_poker the task is fifteen iterations. On leduc_poker it is to reach a NashConv of 0.5, or the lowest NashConv
that the peer reaches within `--seconds` if that is higher. Cells of the payoff table are computed exactly, or sampled
with 200 games; the peer always samples 200 games. The time to compute NashConv is included for marl_engine, and not for
the peer. The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from statistics import median
from typing import NamedTuple

from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.openspiel.game import OpenSpiel
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from solvers.populations.psro import PSRO

ENVIRONMENT, SCRIPT = "openspiel", "openspiel_psro.py"
GAMES = 200  # for each sampled cell
CELLS = {"exact": None, "sampled": GAMES}

Curve = list[tuple[float, float]]  # CPU seconds and NashConv after every iteration


class Case(NamedTuple):
    """A game, and when to stop."""

    game: str
    iterations: int
    goal: float | None  # NashConv; None: all iterations


CASES = (Case("kuhn_poker", 15, None), Case("leduc_poker", 200, 0.5))


def run_psro(case: Case, meta: str, cells: str, goal: float | None, seed: int) -> Curve:
    """Runs PSRO of marl_engine until the goal, or for all iterations; returns its curve."""
    game = OpenSpiel(case.game)
    profile, responder, curve = TabularSpec().profile(game), ExactResponder(game, seed=seed), []
    start = time.process_time()
    for progress in PSRO(meta, CELLS[cells]).solve(profile, responder):
        curve.append((time.process_time() - start, progress.metrics["nash_conv"]))
        if len(curve) == case.iterations or (goal is not None and curve[-1][1] <= goal):
            return curve
    raise AssertionError("solvers never end")


def seconds_to_goal(curve: Curve, goal: float | None) -> float | None:
    """Returns the seconds to the goal; None if it was not reached. Without a goal, returns the seconds of the run."""
    return curve[-1][0] if goal is None else next((seconds for seconds, distance in curve if distance <= goal), None)


def compare(case: Case, meta: str, repeats: int, limit: float) -> list[Row]:
    """Runs the peer, then marl_engine with exact and with sampled cells, for `repeats` seeds each.

    The peer has `limit` CPU seconds for a run.
    """
    peer_curves: list[Curve] = [
        run_peer(ENVIRONMENT, SCRIPT, meta, case.game, GAMES, case.iterations, limit, seed)["curve"]
        for seed in range(repeats)
    ]
    lows = [min(distance for _, distance in curve) for curve in peer_curves]
    goal = None if case.goal is None else max(case.goal, *lows)
    peer_value = 1e3 * median_seconds(peer_curves, goal)
    peer_end = median(curve[-1][1] for curve in peer_curves)
    rows = []
    for cells in CELLS:
        curves = [run_psro(case, meta, cells, goal, seed) for seed in range(repeats)]
        if any(seconds_to_goal(curve, goal) is None for curve in curves):
            raise SystemExit(f"{case.game}, {meta}, {cells} cells: NashConv {goal} was not reached")
        value, end = 1e3 * median_seconds(curves, goal), median(curve[-1][1] for curve in curves)
        task = f"{case.iterations} iterations" if goal is None else f"to NashConv {goal:.2f}"
        note = f"{task}; ends at NashConv {end:.4f}, peer {peer_end:.4f}"
        names = f"{case.game}, {cells} cells", f"psro_v2 {meta}"
        rows.append(Row(*names, peer_value / value, value, peer_value, "ms", note))
    return rows


def median_seconds(curves: list[Curve], goal: float | None) -> float:
    """Returns the median of `seconds_to_goal` over the curves that reach the goal."""
    return median(seconds for curve in curves if (seconds := seconds_to_goal(curve, goal)) is not None)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="seeds of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of the peer for a run (default 60)")
    parser.add_argument("--meta", nargs="+", default=["nash", "prd"], choices=["nash", "prd"])
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    for meta in options.meta:  # loads libraries and compiled code
        run_psro(CASES[0], meta, "sampled", None, 0)
    rows = [
        row for case in CASES for meta in options.meta for row in compare(case, meta, options.repeats, options.seconds)
    ]
    print_table("PSRO with an exact oracle", "peer", rows)
    print(format_json("psro_speed", rows))


if __name__ == "__main__":
    main()
