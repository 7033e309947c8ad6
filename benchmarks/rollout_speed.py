"""Decisions per CPU-second of sampled play of Leduc poker, beside OpenSpiel's rl_environment and Pgx, on one core.

Play is what learners are given: every observation, legal action, choice, log-probability and payoff. All take turns,
and medians are reported, so that a slow minute of the machine strikes them alike. Each peer runs in its own environment
(`make peers`). Everybody plays uniformly; OpenSpiel's environment plays one game at a time, however many are asked for.

The last rows are of a network of two layers of 64 units: played from a table of its logits, which is made for each
stretch of play, beside the same network asked turn by turn. The last line is JSON; a ratio above 1 means that this
engine leads, or that the table does.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from side_by_side import Row, ask, last_line, require, show

from games.openspiel import OpenSpiel
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.rollout.stream import Stream
from marl_engine.types import Profile

GAME = "leduc_poker"
TURNS = {64: 256, 1024: 64, 8192: 16}  # of a stretch, by copies
OPENSPIEL, PGX = "OpenSpiel rl_environment", "Pgx 2.6.0"
ENVIRONMENTS = {OPENSPIEL: "openspiel", PGX: "pgx"}


def measure(profile: Profile, copies: int, seconds: float) -> float:
    """Decisions per CPU-second of stretches of play."""
    stream, turns = Stream(OpenSpiel(GAME), derive_seeds(0, copies)), TURNS[copies]
    stream.play(profile, turns)
    stretches, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        stream.play(profile, turns)
        stretches += 1
    return stretches * turns * copies / (time.process_time() - start)


def ask_peer(peer: str, copies: int, seconds: float) -> float:
    """The same of a peer."""
    if peer == PGX:
        answer = ask(ENVIRONMENTS[peer], "pgx_rollout.py", copies, TURNS[copies], seconds)
    else:
        answer = ask(ENVIRONMENTS[peer], "openspiel_rollout.py", GAME, seconds)
    return answer["decisions"]


def take_turns(ours: Callable[[], float], peers: dict[str, Callable[[], float]], case: str, repeats: int) -> list[Row]:
    """Medians of ours and of each peer, measured one after the other, `repeats` times."""
    speeds: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    for _ in range(repeats):
        for name, speed in {"ours": ours, **peers}.items():
            speeds[name].append(speed())
    mine = median(speeds["ours"])
    spread = f"ours {min(speeds['ours']) / 1e6:.2f} to {max(speeds['ours']) / 1e6:.2f} million"
    return [
        Row(case, peer, mine / median(speeds[peer]), mine, median(speeds[peer]), "decisions/CPU-s", spread)
        for peer in peers
    ]


def compare_uniform(copies: int, peers: list[str], repeats: int, seconds: float) -> list[Row]:
    """Play by uniform tables, beside peers."""
    ours = partial(measure, TabularSpec().profile(OpenSpiel(GAME)), copies, seconds)
    theirs = {peer: partial(ask_peer, peer, copies, seconds) for peer in peers}
    return take_turns(ours, theirs, f"uniform, {copies:,} copies", repeats)


def compare_network(copies: int, repeats: int, seconds: float) -> list[Row]:
    """Play by a network from a table of its logits, beside the same that is asked in every turn."""
    tabulated, settings = (MLPSpec().profile(OpenSpiel(GAME)) for _ in range(2))
    for policy in settings:
        policy.tabular = False
    ours, other = (partial(measure, profile, copies, seconds) for profile in (tabulated, settings))
    return take_turns(ours, {"turn by turn": other}, f"MLP 2x64, {copies:,} copies", repeats)


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", nargs="+", type=int, default=list(TURNS), choices=list(TURNS))
    parser.add_argument("--peers", nargs="*", default=list(ENVIRONMENTS), choices=list(ENVIRONMENTS))
    parser.add_argument("--repeats", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts (default 2)")
    options = parser.parse_args()
    require(ENVIRONMENTS[peer] for peer in options.peers)
    torch.set_num_threads(1)
    rows = []
    for copies in options.copies:
        rows += compare_uniform(copies, options.peers, options.repeats, options.seconds)
    for copies in options.copies:
        rows += compare_network(copies, options.repeats, options.seconds)
    show(f"Sampled play of {GAME}, one core", "peer", rows)
    print(last_line("rollout_speed", rows))


if __name__ == "__main__":
    main()
