"""Measures what `runner=ray` sends and computes in one stretch of play, and simulates 1 to 1,000 workers with that.

    python benchmarks/ray_scaling.py
    python benchmarks/ray_scaling.py --cases overcooked --stretches 50

Each shard of games is a job. Measured are its bytes to and from the worker, the CPU-seconds of a worker (by playing the
same shards in this process), and those of this process for sending and receiving. In the simulation the process of the
run serves one job at a time, the network carries one message at a time, and a stretch ends with its last job. The
number of shards grows with that of workers. The last line is JSON.
"""

import argparse
import heapq
import json
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from games.overcooked import Overcooked
from games.pettingzoo.game import PettingZoo
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.rollout.sharded_stream import ShardedStream, Stretch, play_shard
from marl_engine.runners import RayRunner
from marl_engine.runners.packets import Packet, pack
from marl_engine.types import Game, Opponents, Runner

GAMES, SHARDS = 64, 4
WORKERS = (1, 2, 4, 10, 100, 1000)
NETWORK = 1.25e9  # bytes a second: 10 Gbit/s
JITTER = 0.1  # standard deviation of the logarithm of a job's duration
STRETCHES = 20  # that are simulated
CASES = {
    "overcooked, 64 steps": (lambda: Overcooked(), 64),
    "overcooked, 400 steps": (lambda: Overcooked(), 400),
    "mpe2.simple_spread_v3, 16 steps": (lambda: PettingZoo("mpe2.simple_spread_v3", workers=0), 16),
}


class Costs(NamedTuple):
    """The costs of a job."""

    down: float  # bytes to the worker, without weights
    weights: float  # bytes that all jobs share
    up: float  # bytes from the worker
    worker: float  # CPU-seconds
    driver: float  # CPU-seconds of the process of the run


def size(packet: Packet) -> int:
    """Returns the bytes of a packet."""
    return len(packet.frame) + sum(map(len, packet.arrays))


def measure(game: Game, turns: int, stretches: int, runner: Runner) -> Costs:
    """Returns the costs of a job, as means over stretches after the first two."""
    torch.manual_seed(0)
    opponents = Opponents([MLPSpec(hidden=[64, 64]).profile(game)])
    seeds = derive_seeds(0, GAMES)
    alone, stream = (ShardedStream(game, seeds, size=GAMES // SHARDS) for _ in range(2))
    stream.runner = runner
    for each in (alone, stream):
        for _ in range(2):
            each.play_opponents(opponents, turns)
    start = process_time()
    for _ in range(stretches):
        alone.play_opponents(opponents, turns)
    worker, start = process_time() - start, process_time()
    for _ in range(stretches):
        stream.play_opponents(opponents, turns)
    driver = process_time() - start
    job = Stretch(stream.shards[0], None, opponents, turns)
    weights, down = size(pack(opponents)), size(pack((play_shard, job)))
    up = size(pack(play_shard(Stretch(alone.shards[0], None, opponents, turns))))
    return Costs(down - weights, weights, up, worker / stretches / SHARDS, driver / stretches / SHARDS)


def simulate(costs: Costs, workers: int, seed: int = 0) -> float:
    """Returns jobs per second with one shard for each worker: events are the arrivals of results at the driver."""
    random, total = np.random.default_rng(seed), 0.0
    for _ in range(STRETCHES):
        clock = costs.weights * min(workers, 32) / NETWORK  # a node with many workers fetches them once
        arrivals: list[float] = []
        for _ in range(workers):
            clock += costs.driver / 2 + costs.down / NETWORK
            heapq.heappush(arrivals, clock + costs.worker * np.exp(JITTER * random.standard_normal()))
        while arrivals:
            clock = max(clock, heapq.heappop(arrivals)) + costs.driver / 2 + costs.up / NETWORK
        total += clock
    return workers * STRETCHES / total


def main() -> None:
    """Measures and simulates, and prints tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--stretches", type=int, default=5, help="measured stretches (default 5)")
    parser.add_argument("--workers", type=int, default=2, help="actors (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runner, rows = RayRunner(options.workers), list[dict[str, Any]]()
    table = Table(title=f"{GAMES} games in {SHARDS} shards, network of two layers of 64 units")
    for head in ("case", "down, kB", "weights, kB", "up, kB", "worker, ms", "driver, ms", *map(str, WORKERS)):
        table.add_column(head, justify="right")
    for case in options.cases:
        make, turns = CASES[case]
        costs = measure(make(), turns, options.stretches, runner)
        speeds = {workers: simulate(costs, workers) * costs.worker / workers for workers in WORKERS}
        rows.append({"case": case, **costs._asdict(), "busy": speeds})
        numbers = (costs.down / 1e3, costs.weights / 1e3, costs.up / 1e3, costs.worker * 1e3, costs.driver * 1e3)
        table.add_row(case, *(f"{each:.2f}" for each in numbers), *(f"{each:.0%}" for each in speeds.values()))
    Console(width=150).print(table)
    print(json.dumps({"benchmark": "ray_scaling", "rows": rows}))


if __name__ == "__main__":
    main()
