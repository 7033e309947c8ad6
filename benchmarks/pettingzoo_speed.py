"""Compares the speed of PettingZoo environments in this engine with that of PettingZoo and SuperSuit, on one core.

    python benchmarks/pettingzoo_speed.py --repeats 3

Speed is steps of one environment per CPU-second, with random actions; a step moves all agents, or one where they move
in turn. marl_engine steps 8 copies in this process, and makes all that a learner needs: observations, legal actions and
rewards as tensors. The programs run in turn, and medians are reported, so that a slow minute of the machine affects all
of them. The peers have an environment of their own (`make peers`). The last line is JSON; a ratio above 1 means that
marl_engine is faster.
"""

import argparse
import time
from statistics import median

import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.pettingzoo.game import PettingZoo
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.game_contract import random_actions

COPIES, DRAWS = 8, 64  # copies, and actions that are drawn in advance where all agents act at once
SPREAD, CONNECT_FOUR = "mpe2.simple_spread_v3", "pettingzoo.classic.connect_four_v3"
CASES = {SPREAD: ("plain", "supersuit"), CONNECT_FOUR: ("plain",)}
PEERS = {"plain": "PettingZoo 1.27", "supersuit": "SuperSuit 3.11, 8 copies"}


def measure(name: str, seconds: float) -> float:
    """Returns steps of one environment per CPU-second."""
    game = PettingZoo(name, workers=0)
    turn = game.reset(derive_seeds(0, COPIES))
    draws = [random_actions(game, turn, seed) for seed in range(DRAWS)] if turn.acting.all() else []
    steps, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        turn = game.step(draws[steps % DRAWS] if draws else random_actions(game, turn, steps))
        steps += 1
    return steps * COPIES / (time.process_time() - start)


def compare(name: str, repeats: int, seconds: float) -> list[Row]:
    """Measures marl_engine and the peers in turn; returns a row with medians for each peer."""
    speeds: list[float] = []
    replies: dict[str, list[float]] = {way: [] for way in CASES[name]}
    for _ in range(repeats):
        speeds.append(measure(name, seconds))
        for way, several in replies.items():
            several.append(run_peer("pettingzoo", "pettingzoo_steps.py", way, name, seconds)["steps"])
    value, note = median(speeds), f"marl_engine {min(speeds):,.0f} to {max(speeds):,.0f}"
    return [
        Row(name, PEERS[way], value / median(each), value, median(each), "steps/CPU-s", note)
        for way, each in replies.items()
    ]


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a measurement (default 3)")
    options = parser.parse_args()
    require_peers(["pettingzoo"])
    torch.set_num_threads(1)
    rows = [row for name in CASES for row in compare(name, options.repeats, options.seconds)]
    print_table("PettingZoo environments, one core", "peer", rows)
    print(format_json("pettingzoo_speed", rows))


if __name__ == "__main__":
    main()
