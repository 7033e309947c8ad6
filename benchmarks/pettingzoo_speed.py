"""Compares the speed of PettingZoo environments in this engine with PettingZoo, SuperSuit and RLlib, on one core.

    python benchmarks/pettingzoo_speed.py --repeats 15

Speed is steps of one environment per CPU-second; a step moves all agents, or one where they move in turn. marl_engine
steps 8 copies in this process, and makes all that a learner needs: observations, legal actions and rewards as tensors.
Actions are random, except in the comparison with RLlib's environment runner: there both programs step 8 copies with
actions sampled from a network of two layers of 64 units, which all agents share, and record them with their
log-probabilities.

The programs stay open and run in turn, each for a short time, so that a slow minute of the machine affects all of them.
A ratio is the median of the ratios of measurements made one after the other. Each peer has an environment of its own
(`make peers`). The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import torch
from side_by_side import PeerProcess, Row, format_json, print_table, require_peers

from games.pettingzoo.game import PettingZoo
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.rollout.game_contract import random_actions
from marl_engine.rollout.stream import Stream

COPIES, DRAWS = 8, 64  # copies, and actions that are drawn in advance where all agents act at once
STRETCH = 25  # steps of all copies in a stretch of play
SPREAD, CONNECT_FOUR = "mpe2.simple_spread_v3", "pettingzoo.classic.connect_four_v3"
PLAIN, SUPERSUIT, RLLIB = "PettingZoo 1.27", "SuperSuit 3.11, 8 copies", "RLlib 2.60, MLP 2x64"
PEERS = {  # environment under .peers, and the script with its arguments
    PLAIN: ("pettingzoo", "pettingzoo_steps.py", "plain"),
    SUPERSUIT: ("pettingzoo", "pettingzoo_steps.py", "supersuit"),
    RLLIB: ("rllib", "rllib_steps.py"),
}
CASES = {SPREAD: (PLAIN, SUPERSUIT, RLLIB), CONNECT_FOUR: (PLAIN,)}


def play_at_random(name: str) -> Iterator[int]:
    """Plays random actions without end; yields numbers of steps."""
    game = PettingZoo(name, workers=0)
    turn = game.reset(derive_seeds(0, COPIES))
    draws = [random_actions(game, turn, seed) for seed in range(DRAWS)] if turn.acting.all() else []
    steps = 0
    while True:
        turn = game.step(draws[steps % DRAWS] if draws else random_actions(game, turn, steps))
        steps += 1
        yield COPIES


def play_network(name: str) -> Iterator[int]:
    """Plays a network and records its decisions, without end; yields numbers of steps."""
    game = PettingZoo(name, workers=0)
    stream, profile = Stream(game, derive_seeds(0, COPIES)), MLPSpec(hidden=[64, 64]).profile(game)
    while True:
        stream.play(profile, STRETCH)
        yield STRETCH * COPIES


def measure(steps: Iterator[int], seconds: float) -> float:
    """Returns steps of one environment per CPU-second."""
    total, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        total += next(steps)
    return total / (time.process_time() - start)


def compare(name: str, repeats: int, seconds: float) -> list[Row]:
    """Measures marl_engine and the peers in turn; returns a row with medians for each peer."""
    own: dict[bool, Iterator[int]] = {False: play_at_random(name), True: play_network(name)}
    speeds: dict[str, list[tuple[float, float]]] = {peer: [] for peer in CASES[name]}
    with ExitStack() as stack:
        processes = {peer: stack.enter_context(PeerProcess(*PEERS[peer], name)) for peer in speeds}
        for steps in own.values():
            measure(steps, seconds)
        for process in processes.values():
            process.measure(seconds)
        for _ in range(repeats):
            for peer, process in processes.items():
                speeds[peer].append((measure(own[peer == RLLIB], seconds), process.measure(seconds)["steps"]))
    return [make_row(name, *each) for each in speeds.items()]


def make_row(name: str, peer: str, speeds: list[tuple[float, float]]) -> Row:
    """Returns the row of a peer, from pairs of speeds: of marl_engine, and of the peer."""
    ratios = sorted(value / peer_value for value, peer_value in speeds)
    value, peer_value = (median(several) for several in zip(*speeds, strict=True))
    note = f"ratios {ratios[len(ratios) // 10]:.2f} to {ratios[-1 - len(ratios) // 10]:.2f} (10 % to 90 %)"
    return Row(name, peer, median(ratios), value, peer_value, "steps/CPU-s", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=15, help="measurements of each program (default 15)")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a measurement (default 0.5)")
    options = parser.parse_args()
    require_peers({PEERS[peer][0] for name in options.environments for peer in CASES[name]})
    torch.set_num_threads(1)
    rows = [row for name in options.environments for row in compare(name, options.repeats, options.seconds)]
    print_table("PettingZoo environments, one core", "peer", rows)
    print(format_json("pettingzoo_speed", rows))


if __name__ == "__main__":
    main()
