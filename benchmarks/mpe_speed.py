"""Compares the speed of particle worlds with mpe2's parallel_env: steps per CPU-second.

    python benchmarks/mpe_speed.py --scenarios simple_spread --repeats 3

A step moves all agents of one world, and includes observations, rewards and the opening of new episodes. Actions are
uniformly random and drawn in advance. The programs run in turn, and medians are reported, so that a slow minute of the
machine affects both. marl_engine steps many worlds at once; the best number of worlds is reported. The peer has an
environment of its own (`make peers`). The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from statistics import median

import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.mpe import ParticleWorlds
from marl_engine.rollout.game_contract import random_actions

BATCHES = (64, 1024, 4096, 16384)
DRAWS = 16  # number of joint actions that are drawn in advance and repeated
PEER, ENVIRONMENT = "mpe2 1.1.1 parallel_env", "pettingzoo"
VERSIONS = {"simple_spread": 3, "simple_tag": 3, "simple_reference": 3, "simple_speaker_listener": 4}


def measure_speed(game: ParticleWorlds, worlds: int, seconds: float) -> float:
    """Returns steps per CPU-second of a number of worlds that are stepped together, measured for `seconds`."""
    turn = game.reset(torch.arange(worlds))
    actions = [random_actions(game, turn, seed) for seed in range(DRAWS)]
    game.step(actions[0])
    calls, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        game.step(actions[calls % DRAWS])
        calls += 1
    return calls * worlds / (time.process_time() - start)


def find_best_batch(scenario: str, seconds: float) -> tuple[float, int]:
    """Returns the highest speed over batch sizes, and its batch size. The sizes share the seconds."""
    game = ParticleWorlds(scenario)
    return max((measure_speed(game, worlds, seconds / len(BATCHES)), worlds) for worlds in BATCHES)


def compare(scenario: str, repeats: int, seconds: float) -> Row:
    """Measures marl_engine and mpe2 in turn, `repeats` times; returns the row with the medians."""
    speeds: list[tuple[float, int]] = []
    peer_speeds: list[float] = []
    for _ in range(repeats):
        speeds.append(find_best_batch(scenario, seconds))
        module = f"mpe2.{scenario}_v{VERSIONS[scenario]}"
        peer_speeds.append(run_peer(ENVIRONMENT, "pettingzoo_steps.py", "plain", module, seconds)["steps"])
    value, peer_value = median(speed for speed, _ in speeds), median(peer_speeds)
    note = f"{max(speeds)[1]} worlds at once; peer 1"
    return Row(scenario, PEER, value / peer_value, value, peer_value, "steps/CPU-s", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", nargs="+", default=list(VERSIONS), choices=list(VERSIONS))
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of a measurement (default 4)")
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    torch.set_num_threads(1)
    rows = [compare(scenario, options.repeats, options.seconds) for scenario in options.scenarios]
    print_table("Particle worlds with observations, one core", "peer", rows)
    print(format_json("mpe_speed", rows))


if __name__ == "__main__":
    main()
