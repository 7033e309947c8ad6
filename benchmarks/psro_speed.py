"""Processor seconds of PSRO with an exact oracle, here and in OpenSpiel's psro_v2, on the same machine.

On kuhn_poker: fifteen iterations. On leduc_poker: until NashConv is one half, or as near as the peer comes in its time,
which is then the goal of both. Cells of the payoff table are exact or the mean of 200 games here, the mean of 200 games
there. Measuring NashConv is counted here and not there. The last line is JSON; a ratio above 1 means that this engine
leads.
"""

import argparse
import time
from statistics import median
from typing import NamedTuple

from side_by_side import Row, ask, last_line, require, show

from games.openspiel.game import OpenSpiel
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from solvers.populations.psro import PSRO

ENVIRONMENT, SCRIPT = "openspiel", "openspiel_psro.py"
GAMES = 200  # that a sampled cell is the mean of
CELLS = {"exact": None, "sampled": GAMES}

Curve = list[tuple[float, float]]  # processor seconds and NashConv after every iteration


class Case(NamedTuple):
    """A game, and where to stop."""

    game: str
    iterations: int
    goal: float | None  # NashConv; None: all iterations


CASES = (Case("kuhn_poker", 15, None), Case("leduc_poker", 200, 0.5))


def ours(case: Case, meta: str, cells: str, goal: float | None, seed: int) -> Curve:
    """A run of this engine's PSRO, measured as it goes, that ends at the goal."""
    game = OpenSpiel(case.game)
    profile, responder, curve = TabularSpec().profile(game), ExactResponder(game, seed=seed), []
    start = time.process_time()
    for progress in PSRO(meta, CELLS[cells]).solve(profile, responder):
        curve.append((time.process_time() - start, progress.metrics["nash_conv"]))
        if len(curve) == case.iterations or (goal is not None and curve[-1][1] <= goal):
            return curve
    raise AssertionError("solvers go on for ever")


def reached(curve: Curve, goal: float | None) -> float | None:
    """Seconds to the goal, or None; without a goal, of the whole."""
    return curve[-1][0] if goal is None else next((seconds for seconds, distance in curve if distance <= goal), None)


def compare(case: Case, meta: str, repeats: int, limit: float) -> list[Row]:
    """The peer, then ours with exact and with sampled cells, `repeats` times."""
    theirs: list[Curve] = [
        ask(ENVIRONMENT, SCRIPT, meta, case.game, GAMES, case.iterations, limit, seed)["curve"]
        for seed in range(repeats)
    ]
    goal = None if case.goal is None else max(case.goal, *(min(distance for _, distance in curve) for curve in theirs))
    their_seconds = median(seconds for curve in theirs if (seconds := reached(curve, goal)) is not None)
    their_end = median(curve[-1][1] for curve in theirs)
    rows = []
    for cells in CELLS:
        mine = [ours(case, meta, cells, goal, seed) for seed in range(repeats)]
        seconds = [reached(curve, goal) for curve in mine]
        if None in seconds:
            raise SystemExit(f"{case.game}, {meta}, {cells} cells: NashConv {goal} was not reached")
        a, end = median(each for each in seconds if each is not None), median(curve[-1][1] for curve in mine)
        what = f"{case.iterations} iterations" if goal is None else f"to NashConv {goal:.2f}"
        note = f"{what}; ends at NashConv {end:.4f}, theirs {their_end:.4f}"
        rows.append(
            Row(
                f"{case.game}, {cells} cells",
                f"psro_v2 {meta}",
                their_seconds / a,
                a * 1e3,
                their_seconds * 1e3,
                "ms",
                note,
            )
        )
    return rows


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="seeds of each engine (default 3)")
    parser.add_argument("--seconds", type=float, default=60.0, help="that the peer is given for a run (default 60)")
    parser.add_argument("--meta", nargs="+", default=["nash", "prd"], choices=["nash", "prd"])
    options = parser.parse_args()
    require([ENVIRONMENT])
    for meta in options.meta:  # loads libraries and what is compiled
        ours(CASES[0], meta, "sampled", None, 0)
    rows = [
        row for case in CASES for meta in options.meta for row in compare(case, meta, options.repeats, options.seconds)
    ]
    show("PSRO with an exact oracle", "peer", rows)
    print(last_line("psro_speed", rows))


if __name__ == "__main__":
    main()
