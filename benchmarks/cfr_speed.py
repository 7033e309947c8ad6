"""Measures the time of an iteration of CFR+ in marl_engine, OpenSpiel (C++, Python, JAX) and LiteEFG.

    python benchmarks/cfr_speed.py --games leduc_poker --peers "OpenSpiel C++"

The programs run in turn on the same machine, and medians are reported, so that a slow minute affects all of them. Each
peer has its own environment; `make peers` creates them. The last line is JSON; a ratio above 1 means that marl_engine
is faster.

The notes give NashConv after ten iterations of both programs. The numbers agree unless a player has several best
actions (goofspiel, battleship), where rounding decides which of them is played. The notes also compare the memory
traffic of an iteration with that of a plain copy of an array in the same time, which is the limit of the hardware.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.sequence_form import SequenceForm, behavior_strategy, nash_conv, realization_plan
from solvers.cfr.cfr import initial_state, iterate
from solvers.cfr.state import Rule

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
ITERATIONS = 10  # after which NashConv of the average strategies is compared


def time_iterations(advance: Callable[[int], object], seconds: float) -> float:
    """Returns the seconds that one iteration takes; `advance(count)` runs `count` iterations.

    It is the median over stretches that last about a fortieth of `seconds`, which is the total time.
    """
    count, results = 1, []
    advance(1)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        advance(count)
        duration = time.perf_counter() - start
        if duration < seconds / 40:
            count *= 2
        else:
            results.append(duration / count)
    return median(results)


def time_cfr_plus(form: SequenceForm, seconds: float) -> float:
    """Returns the seconds that an iteration of CFR+ takes in marl_engine."""
    state = initial_state(form)
    return time_iterations(lambda count: iterate(form, CFR_PLUS, state, 1, count, 1), seconds)


def average_nash_conv(form: SequenceForm) -> float:
    """Returns NashConv of the average strategy after ITERATIONS iterations."""
    state = initial_state(form)
    iterate(form, CFR_PLUS, state, 0, ITERATIONS, 1)
    return nash_conv(form, realization_plan(form, behavior_strategy(form, state.total)))


def memory_traffic(form: SequenceForm) -> int:
    """Returns the bytes that an iteration reads and writes.

    These are the payoff entries and their indices once, and five numbers of each sequence twice.
    """
    entry = form.payoff.itemsize + form.others.itemsize * (form.players - 1)
    return len(form.payoff) * entry + form.sequences * 8 * 10


def copy_bandwidth(seconds: float = 0.5) -> float:
    """Returns the bytes per second that a plain copy of 64 MB reads and writes."""
    source, target = np.ones(2**23), np.empty(2**23)
    results = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        target[:] = source
        results.append(2 * source.nbytes / (time.perf_counter() - start))
    return median(results)


def compare(case: str, peers: list[str], repeats: int, seconds: float) -> list[Row]:
    """Measures marl_engine and each peer in turn, `repeats` times, for `seconds` each; returns a row for each peer."""
    form = OpenSpiel(GAMES[case]).form
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    replies: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(repeats):
        for peer in peers:
            times[peer].append(time_cfr_plus(form, seconds))
            replies[peer].append(run_peer(ENVIRONMENT, PEERS[peer], peer, GAMES[case], ITERATIONS, seconds))
    rows, distance = [], average_nash_conv(form)
    share = memory_traffic(form) / median(number for numbers in times.values() for number in numbers) / copy_bandwidth()
    for peer in peers:
        peer_distance = median(reply["nash_conv"] for reply in replies[peer])
        remark = next((f"; {reply['note']}" for reply in replies[peer] if "note" in reply), "")
        value, peer_value = median(times[peer]) * 1e6, median(reply["seconds"] for reply in replies[peer]) * 1e6
        distances = f"NashConv after {ITERATIONS}: {distance:.6f}, peer {peer_distance:.6f}"
        note = f"{share:.0%} of a copy's bandwidth; {distances}{remark}"
        rows.append(Row(case, peer, peer_value / value, value, peer_value, "us", note))
    return rows


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a measurement (default 2)")
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    rows = [row for case in options.games for row in compare(case, options.peers, options.repeats, options.seconds)]
    print_table("One iteration of CFR+", "peer", rows)
    print(format_json("cfr_speed", rows))


if __name__ == "__main__":
    main()
