"""Compares the speed of particle worlds with mpe2's parallel_env and with JaxMARL: steps per CPU-second.

    python benchmarks/mpe_speed.py --scenarios simple_spread --repeats 3

A step moves all agents of one world, and includes observations, rewards and the opening of new episodes. Actions are
uniformly random and drawn in advance. The programs run in turn, and medians are reported, so that a slow minute of the
machine affects all of them. marl_engine and JaxMARL step many worlds at once; the best number of worlds is reported.
CPU-seconds are those of all threads, of which JaxMARL has as many as there are cores. The peers have environments of
their own (`make peers`). The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from statistics import median

import torch
from side_by_side import PeerProcess, Row, format_json, print_table, require_peers, run_peer

from games.mpe import ParticleWorlds
from marl_engine.rollout.game_contract import random_actions

BATCHES = (64, 1024, 4096, 16384)
DRAWS = 16  # number of joint actions that are drawn in advance and repeated
MPE2, JAXMARL = "mpe2 1.1.1 parallel_env", "JaxMARL 0.2.0"
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


def compare(scenario: str, repeats: int, seconds: float) -> list[Row]:
    """Measures marl_engine and the peers in turn, `repeats` times; returns a row with medians for each peer."""
    world = f"{scenario}_v{VERSIONS[scenario]}"
    speeds: list[tuple[float, int]] = []
    peer_speeds: dict[str, list[tuple[float, int]]] = {MPE2: [], JAXMARL: []}
    with PeerProcess("pettingzoo", "pettingzoo_steps.py", "plain", f"mpe2.{world}") as mpe2:
        for _ in range(repeats):
            speeds.append(find_best_batch(scenario, seconds))
            peer_speeds[MPE2].append((mpe2.measure(seconds)["steps"], 1))
            reply = run_peer("jaxmarl", "jaxmarl_steps.py", f"MPE_{world}", seconds)
            peer_speeds[JAXMARL].append((reply["steps_per_cpu_second"], reply["games"]))
    value, rows = median(speed for speed, _ in speeds), []
    for peer, several in peer_speeds.items():
        peer_value = median(speed for speed, _ in several)
        note = f"{max(speeds)[1]} worlds at once; peer {max(several)[1]}"
        rows.append(Row(scenario, peer, value / peer_value, value, peer_value, "steps/CPU-s", note))
    return rows


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", nargs="+", default=list(VERSIONS), choices=list(VERSIONS))
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of a measurement (default 4)")
    options = parser.parse_args()
    require_peers(["pettingzoo", "jaxmarl"])
    torch.set_num_threads(1)
    rows = [row for scenario in options.scenarios for row in compare(scenario, options.repeats, options.seconds)]
    print_table("Particle worlds with observations, one core", "peer", rows)
    print(format_json("mpe_speed", rows))


if __name__ == "__main__":
    main()
