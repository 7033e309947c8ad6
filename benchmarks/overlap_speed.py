"""Measures whole iterations of PPO with `runner=local` and `runner=ray`, with and without overlap of play and learning.

    python benchmarks/overlap_speed.py
    python benchmarks/overlap_speed.py --cases slow --wait 5 --repeats 9

Games are simple_spread of PettingZoo, each of whose steps also waits for some milliseconds, as for a simulator in
another process, and cramped_room of Overcooked. All runners stay open and are measured in turn; a ratio is the median
of those of single rounds. The last line is JSON; a ratio above 1 means that a runner is faster than the one beside it.
"""

import argparse
import json
from statistics import median
from time import perf_counter, sleep

import torch
from mpe2 import simple_spread_v3
from pettingzoo.utils.wrappers import BaseParallelWrapper
from rich.console import Console
from rich.table import Table

from games.overcooked import Overcooked
from games.pettingzoo.game import PettingZoo
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.runners import LOCAL, RayRunner
from marl_engine.runners.ray import connect
from marl_engine.types import Runner

BASES = {"slow": "ray, 1 worker", "overcooked": "local"}
SETTINGS = {
    "slow": {"num_envs": 16, "rollout_length": 25, "shard": 4},
    "overcooked": {"num_envs": 64, "rollout_length": 64, "shard": 16},
}


class Slow(BaseParallelWrapper):
    """Waits some seconds in each step."""

    def __init__(self, world, seconds: float):
        super().__init__(world)
        self.seconds = seconds

    def step(self, actions):
        sleep(self.seconds)
        return super().step(actions)


def make_slow(seconds: float) -> Slow:
    """Returns the slow environment, by the name `overlap_speed:make_slow`."""
    return Slow(simple_spread_v3.parallel_env(), seconds)


class Trainer:
    """A run of PPO."""

    def __init__(self, case: str, runner: Runner, wait: float):
        torch.manual_seed(0)
        arguments = {"seconds": wait}
        game = Overcooked() if case == "overcooked" else PettingZoo("overlap_speed:make_slow", arguments, workers=0)
        network = MLPSpec(hidden=[64, 64])
        self.profile = network.profile(game)
        self.responder = PPO(game, network, runner=runner, **SETTINGS[case])
        self.measure(3)

    def measure(self, iterations: int) -> float:
        """Returns steps of games per second."""
        start = perf_counter()
        steps = sum(self.responder.respond(self.profile).work["steps"] for _ in range(iterations))
        return steps / (perf_counter() - start)


def main() -> None:
    """Measures in turn, and prints tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(BASES), choices=list(BASES))
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--iterations", type=int, default=5, help="of a measurement (default 5)")
    parser.add_argument("--wait", type=float, default=2.0, help="milliseconds of a step of the slow game (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    connect(None, 6)  # workers of all runners, most of which wait
    rows = []
    runners = {
        "local": LOCAL,
        "ray, 2 workers": RayRunner(2),
        "ray, 1 worker": RayRunner(1),
        "ray, 1 worker, overlap": RayRunner(1, overlap=True),
        "ray, 2 workers, overlap": RayRunner(2, overlap=True),
    }
    for case in options.cases:
        trainers = {name: Trainer(case, runner, options.wait / 1000) for name, runner in runners.items()}
        rounds = [
            {name: each.measure(options.iterations) for name, each in trainers.items()} for _ in range(options.repeats)
        ]
        base, table = BASES[case], Table(title=f"PPO, {case}")
        for head in ("runner", "steps a second", f"of {BASES[case]}"):
            table.add_column(head)
        for name in runners:
            ratio, speed = median(each[name] / each[base] for each in rounds), median(each[name] for each in rounds)
            table.add_row(name, f"{speed:,.0f}", f"{ratio:.2f}")
            rows.append({"case": case, "runner": name, "beside": base, "ratio": ratio, "steps_per_second": speed})
        Console(width=100).print(table)
    print(json.dumps({"benchmark": "overlap_speed", "rows": rows}))


if __name__ == "__main__":
    main()
