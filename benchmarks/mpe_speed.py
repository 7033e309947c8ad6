"""Compares the speed of particle worlds with mpe2's parallel_env and JaxMARL: steps per CPU-second.

    python benchmarks/mpe_speed.py --scenarios simple_spread --repeats 3

A step moves all agents of one world, and includes observations, rewards and the opening of new episodes. Actions are
uniformly random and drawn in advance. The programs run in turn, and medians are reported, so that a slow minute of the
machine affects all of them. JaxMARL and marl_engine step many worlds at once; the best number of worlds is reported.
Each peer has its own environment (`make peers`). The last line is JSON; a ratio above 1 means that marl_engine is
faster.
"""

import argparse
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.mpe import ParticleWorlds
from marl_engine.rollout.game_contract import random_actions

BATCHES = (64, 1024, 4096, 16384)
DRAWS = 16  # number of joint actions that are drawn in advance and repeated
MPE2, JAXMARL = "mpe2 1.1.1 parallel_env", "JaxMARL 0.2.0"
ENVIRONMENTS = {MPE2: "pettingzoo", JAXMARL: "jaxmarl"}
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


def measure_peer(peer: str, scenario: str, seconds: float, cache: str) -> dict[str, Any]:
    """Returns the steps per CPU-second of a peer, and the number of its worlds if there are several."""
    if peer == MPE2:
        module = f"mpe2.{scenario}_v{VERSIONS[scenario]}"
        return run_peer(ENVIRONMENTS[peer], "pettingzoo_steps.py", "plain", module, seconds)
    variables = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return run_peer(ENVIRONMENTS[peer], "jaxmarl_mpe_steps.py", scenario, seconds, **variables)


def compare(scenario: str, peers: list[str], repeats: int, seconds: float, cache: str) -> list[Row]:
    """Measures marl_engine and each peer in turn, `repeats` times. `cache` is a folder for programs compiled by JAX."""
    speeds: list[tuple[float, int]] = []
    replies: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(repeats):
        speeds.append(find_best_batch(scenario, seconds))
        for peer in peers:
            replies[peer].append(measure_peer(peer, scenario, seconds, cache))
    return [make_row(scenario, peer, speeds, each) for peer, each in replies.items()]


def make_row(scenario: str, peer: str, speeds: list[tuple[float, int]], replies: list[dict[str, Any]]) -> Row:
    """Returns the row of a peer: medians of speeds (steps per CPU-second, batch size), and of the peer's replies."""
    value = median(speed for speed, _ in speeds)
    peer_value = median(reply["steps"] for reply in replies)
    note = f"{max(speeds)[1]} worlds at once; peer {max(replies, key=lambda reply: reply['steps']).get('worlds', 1)}"
    return Row(scenario, peer, value / peer_value, value, peer_value, "steps/CPU-s", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", nargs="+", default=list(VERSIONS), choices=list(VERSIONS))
    parser.add_argument("--peers", nargs="*", default=list(ENVIRONMENTS), choices=list(ENVIRONMENTS))
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of a measurement (default 4)")
    options = parser.parse_args()
    require_peers(ENVIRONMENTS[peer] for peer in options.peers)
    torch.set_num_threads(1)
    rows = []
    with TemporaryDirectory() as cache:
        for scenario in options.scenarios:
            rows += compare(scenario, options.peers, options.repeats, options.seconds, cache)
    print_table("Particle worlds with observations, one core", "peer", rows)
    print(format_json("mpe_speed", rows))


if __name__ == "__main__":
    main()
