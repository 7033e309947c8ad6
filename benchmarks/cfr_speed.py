"""Seconds that an iteration of CFR+ takes, here, in OpenSpiel (C++, Python, JAX) and in LiteEFG, on the same machine.

All take turns, and medians are reported, so that a slow minute of the machine strikes them alike. Each peer runs
in its own environment (`make peers`). NashConv after ten iterations is shown of both. It is the same where no two
actions are equally good; where some are (goofspiel, battleship), rounding decides which is played, here as there.
The last line is JSON; a ratio above 1 means that this engine leads.

How near the arrays are to the limit of memory: bytes that an iteration has to read and write, over what a plain
copy moves in the same time.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from side_by_side import Row, ask, last_line, require, show

from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.sequence_form import SequenceForm, behavior_strategy, nash_conv, realization_plan
from solvers.cfr.cfr import Rule, initial_state, iterate

GAMES = {
    "kuhn_poker": "kuhn_poker",
    "leduc_poker": "leduc_poker",
    "liars_dice": "liars_dice",
    "goofspiel": "goofspiel(imp_info=True,num_cards=5,points_order=descending)",
    "battleship": "battleship(board_width=2,board_height=2,ship_sizes=[1],ship_values=[1],num_shots=2,"
    "allow_repeated_shots=False)",
}
PEERS = {
    "OpenSpiel C++": "openspiel_cfr.py",
    "OpenSpiel Python": "openspiel_cfr.py",
    "OpenSpiel JaxCFR": "openspiel_jax_cfr.py",
    "LiteEFG": "liteefg_cfr.py",
}
ENVIRONMENT = "openspiel"
CFR_PLUS = Rule(np.inf, np.inf, 1.0, 1, 0)
CHECKED = 10  # iterations whose average is compared


def timed(advance: Callable[[int], object], seconds: float) -> float:
    """Seconds of an iteration of what makes so many, as the median of stretches that last a fortieth of `seconds`."""
    count, results = 1, []
    advance(1)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        advance(count)
        passed = time.perf_counter() - start
        if passed < seconds / 40:
            count *= 2
        else:
            results.append(passed / count)
    return median(results)


def ours(form: SequenceForm, seconds: float) -> float:
    """Seconds of an iteration of CFR+."""
    state = initial_state(form)
    return timed(lambda count: iterate(form, CFR_PLUS, state, 1, count, 1), seconds)


def distance(form: SequenceForm) -> float:
    """NashConv of the average after CHECKED iterations."""
    state = initial_state(form)
    iterate(form, CFR_PLUS, state, 0, CHECKED, 1)
    return nash_conv(form, realization_plan(form, behavior_strategy(form, state.total)))


def traffic(form: SequenceForm) -> int:
    """Bytes that an iteration has to touch: entries and their plan once, and five numbers of each sequence twice."""
    entry = form.payoff.itemsize + form.others.itemsize * (form.players - 1)
    return len(form.payoff) * entry + form.sequences * 8 * 10


def copied(seconds: float = 0.5) -> float:
    """Bytes a second that a plain copy of 64 MB reads and writes."""
    source, target = np.ones(2**23), np.empty(2**23)
    results = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        target[:] = source
        results.append(2 * source.nbytes / (time.perf_counter() - start))
    return median(results)


def compare(case: str, peers: list[str], repeats: int, seconds: float) -> list[Row]:
    """Ours and each peer in turn, `repeats` times."""
    form = OpenSpiel(GAMES[case]).form
    mine: dict[str, list[float]] = {peer: [] for peer in peers}
    theirs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(repeats):
        for peer in peers:
            mine[peer].append(ours(form, seconds))
            theirs[peer].append(ask(ENVIRONMENT, PEERS[peer], peer, GAMES[case], CHECKED, seconds))
    rows, here = [], distance(form)
    share = traffic(form) / median(each for result in mine.values() for each in result) / copied()
    for peer in peers:
        there = median(answer["nash_conv"] for answer in theirs[peer])
        more = next((f"; {answer['note']}" for answer in theirs[peer] if "note" in answer), "")
        a, b = median(mine[peer]) * 1e6, median(answer["seconds"] for answer in theirs[peer]) * 1e6
        note = f"{share:.0%} of a copy's bandwidth; NashConv after {CHECKED}: {here:.6f}, theirs {there:.6f}{more}"
        rows.append(Row(case, peer, b / a, a, b, "us", note))
    return rows


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3, help="turns of each engine (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts (default 2)")
    options = parser.parse_args()
    require([ENVIRONMENT])
    rows = [row for case in options.games for row in compare(case, options.peers, options.repeats, options.seconds)]
    show("One iteration of CFR+", "peer", rows)
    print(last_line("cfr_speed", rows))


if __name__ == "__main__":
    main()
