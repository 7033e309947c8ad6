"""Seconds that an iteration of Monte Carlo CFR takes, here and in OpenSpiel's C++, on the same machine.

An iteration is one traversal for each player, by external or by outcome sampling with an exploration of 0.6. The two
take turns, and medians are reported, so that a slow minute of the machine strikes them alike. OpenSpiel runs in an
environment of its own (`make peers`) and is called from Python, as its users call it. NashConv of both is that after
as many iterations, the median over one seed for each turn. The last line is JSON; a ratio above 1 means that this
engine leads.
"""

import argparse
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from cfr_speed import ENVIRONMENT, GAMES, timed
from side_by_side import Row, ask, last_line, require, show

from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.sequence_form import behavior_strategy, nash_conv, realization_plan
from solvers.cfr.mccfr import NO_UNIFORMS
from solvers.cfr.tree_sampling import allocate_state, paths, traverse

EXPLORATION = {"external": 0.0, "outcome": 0.6}
CHECKED = 10_000  # iterations whose average is compared
CASES = ("kuhn_poker", "leduc_poker", "liars_dice")
PEER, SCRIPT = "OpenSpiel C++", "openspiel_mccfr.py"


def ours(game: OpenSpiel, sampling: str, iterations: int, seconds: float, seed: int) -> dict[str, float]:
    """What the peer's script measures: seconds of an iteration, and NashConv after so many."""
    tree, players, exploration = paths(game.tree, game.form), game.players, EXPLORATION[sampling]
    state = allocate_state(*np.zeros((2, game.form.sequences)))
    traverse(tree, state, exploration, seed, 0, iterations * players, NO_UNIFORMS)
    distance = nash_conv(game.form, realization_plan(game.form, behavior_strategy(game.form, state.total)))
    done = iterations * players

    def advance(count: int) -> None:
        nonlocal done
        traverse(tree, state, exploration, seed, done, count * players, NO_UNIFORMS)
        done += count * players

    return {"seconds": timed(advance, seconds), "nash_conv": distance}


def compare(case: str, sampling: str, repeats: int, seconds: float) -> Row:
    """Ours and the peer in turn, `repeats` times, each with another seed."""
    game = OpenSpiel(GAMES[case])
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for seed in range(1, repeats + 1):
        mine.append(ours(game, sampling, CHECKED, seconds, seed))
        theirs.append(ask(ENVIRONMENT, SCRIPT, sampling, GAMES[case], CHECKED, seconds, seed))
    a, b = (median(answer["seconds"] for answer in answers) * 1e6 for answers in (mine, theirs))
    here, there = (median(answer["nash_conv"] for answer in answers) for answers in (mine, theirs))
    note = f"NashConv after {CHECKED:,}: {here:.3f}, theirs {there:.3f}; {1e6 / a:,.0f} iterations/s"
    return Row(f"{case}, {sampling} sampling", PEER, b / a, a, b, "us", note)


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--sampling", nargs="+", default=list(EXPLORATION), choices=list(EXPLORATION))
    parser.add_argument("--repeats", type=int, default=3, help="turns of each engine (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts (default 2)")
    options = parser.parse_args()
    require([ENVIRONMENT])
    rows = [compare(*each, options.repeats, options.seconds) for each in product(options.games, options.sampling)]
    show("One iteration of Monte Carlo CFR", "peer", rows)
    print(last_line("mccfr_speed", rows))


if __name__ == "__main__":
    main()
