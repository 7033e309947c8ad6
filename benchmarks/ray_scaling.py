"""Measures what `runner=ray` costs, with 1 to 4 workers, and simulates 10 to 1,000 with it; see `ray_simulation`.

    python benchmarks/ray_scaling.py
    python benchmarks/ray_scaling.py --rounds 9 --wait 20

A job is one stretch of play of a shard of games. With one worker, results of three sizes give a line: the CPU-seconds
of the process of the run for a job and for each byte. What is simulated with it for 2, 3 and 4 workers stands beside
what is measured with them. Games of three cases wait and hardly compute, as for simulators in other processes, so that
workers do not need a core each. Two learners (`runner.learners=2`) add up vectors of three sizes, which gives another
line. All cases are measured in turn, and the fastest of several rounds counts, which is the least disturbed one.

The last line is JSON.
"""

import argparse
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from ray_simulation import Costs, Line, Simulation
from rich.console import Console
from rich.table import Table

from games.overcooked import Overcooked
from games.pettingzoo.game import PettingZoo
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.sharded_stream import ShardedStream, Stretch, play_shard
from marl_engine.runners import LOCAL, Group, RayRunner, make_gang
from marl_engine.runners.packets import pack
from marl_engine.runners.ray import connect
from marl_engine.types import Game, Opponents, Runner, Turn

SPEC = MLPSpec(hidden=[64, 64])
SHARDS = 12  # jobs of a measured stretch: as many for each of 1, 2, 3 and 4 workers
VECTORS = (1_000, 40_000, 1_000_000)  # numbers that learners add up
LESSONS = (1, 4)  # jobs from which an update learns
SCALES = (10, 100, 1000)  # workers
DESIGNS = {
    "star": (Simulation.star, False),
    "tree": (Simulation.tree, False),
    "star, learns": (Simulation.star, True),
    "tree, learns": (Simulation.tree, True),
    "sharded learners": (Simulation.learners, True),
}
Name = TypeVar("Name", bound=Hashable)


@dataclass
class Waiting(Overcooked):
    """Kitchens that wait some seconds in each step."""

    seconds: float = 0.01

    def step(self, actions: torch.Tensor) -> Turn:
        """See `Overcooked`."""
        sleep(self.seconds)
        return super().step(actions)


class Case(NamedTuple):
    """A job: some copies of a game, and how many steps of each."""

    game: Game
    copies: int
    turns: int
    workers: Sequence[int] = ()  # with which it is measured
    wait: float = 0.0  # seconds of a simulated job in which a worker waits, besides those in which it computes


def measured_cases(wait: float) -> dict[str, Case]:
    """Returns the cases that are measured with workers; `wait` seconds is what a step waits."""
    slow = Waiting(seconds=wait)
    cases = {f"{turns} steps that wait": Case(slow, 128, turns, (1, 2, 3, 4)) for turns in (2, 8, 24)}
    return cases | {"64 steps that compute": Case(Overcooked(), 16, 64, (1, 2))}


def simulated_cases() -> dict[str, Case]:
    """Returns the cases that are simulated with many workers."""
    world = PettingZoo("mpe2.simple_spread_v3", workers=0)
    return {
        "Overcooked, 64 steps": Case(Overcooked(), 16, 64),
        "Overcooked, 400 steps": Case(Overcooked(), 16, 400),
        "simple_spread, 16 steps": Case(world, 16, 16),
        "same, each waits 2 ms": Case(world, 16, 16, wait=16 * 16 * 0.002),
    }


class Times(NamedTuple):
    """How long something took."""

    seconds: float
    cpu: float  # CPU-seconds of this process


def time_rounds(calls: Mapping[Name, Callable[[], Any]], rounds: int) -> dict[Name, Times]:
    """Makes all calls in turn, in so many rounds after two others; returns the shortest times of each."""
    times: dict[Name, list[Times]] = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            start, cpu = perf_counter(), process_time()
            call()
            times[name].append(Times(perf_counter() - start, process_time() - cpu))
    return {name: Times(*map(min, zip(*each[2:], strict=True))) for name, each in times.items()}


def fit_line(numbers: Sequence[float], seconds: Sequence[float]) -> Line:
    """Returns the line with the least squared relative errors."""
    columns = np.stack([np.ones(len(numbers)), np.array(numbers)], axis=1) / np.array(seconds)[:, None]
    fixed, each = np.linalg.lstsq(columns, np.ones(len(numbers)), rcond=None)[0].tolist()
    return Line(max(fixed, 0.0), max(each, 0.0))


class Shards:
    """Shards of a game, which a runner plays."""

    def __init__(self, case: Case, shards: int, runner: Runner = LOCAL):
        torch.manual_seed(0)
        self.turns, self.opponents = case.turns, Opponents([SPEC.profile(case.game)])
        self.stream = ShardedStream(case.game, derive_seeds(0, case.copies * shards), runner, case.copies)

    def play(self) -> None:
        """Plays a stretch."""
        self.stream.play_opponents(self.opponents, self.turns)

    def measure_bytes(self) -> list[int]:
        """Returns the bytes of a result and of the policies."""
        played = play_shard(Stretch(self.stream.shards[0], None, self.opponents, self.turns))
        return [len(frame) + sum(map(len, arrays)) for frame, arrays in (pack(played), pack(self.opponents))]


def measure_rates(cases: Mapping[str, Case], rounds: int) -> dict[str, dict[int, Times]]:
    """Returns the times of a job, by the name of the case and the number of workers."""
    runner = RayRunner(4)
    runner.map(abs, range(4))
    crew = runner.crew
    while len(crew.processes) < len(crew.actors):  # not all have started
        runner.map(sleep, [0.1] * 8)
    actors, calls = crew.actors, dict[tuple[str, int], Callable[[], Any]]()

    def play(shards: Shards, count: int) -> None:
        crew.actors = actors[:count]
        shards.play()

    for name, case in cases.items():
        for count in case.workers:
            calls[name, count] = partial(play, Shards(case, SHARDS, runner), count)
    times = time_rounds(calls, rounds)
    jobs = {key: Times(each.seconds / SHARDS, each.cpu / SHARDS) for key, each in times.items()}
    return {name: {count: jobs[name, count] for count in case.workers} for name, case in cases.items()}


class Learner(PPO):
    """Plays once, and learns from that in each step."""

    played: Any = None

    def _play(self, *words: Any) -> Any:
        self.played = self.played or super()._play(*words)
        return self.played


def measure_costs(case: Case, rounds: int) -> Costs:
    """Returns the costs of a job, from play and learning in this process."""
    play, profile = Shards(case, 1), SPEC.profile(case.game)
    calls: dict[int, Callable[[], Any]] = {0: play.play}
    for jobs in LESSONS:
        learner = Learner(case.game, SPEC, num_envs=jobs * case.copies, rollout_length=case.turns)
        calls[jobs] = partial(learner.respond, profile)
    times = time_rounds(calls, rounds)
    up, weights = play.measure_bytes()
    gradients = 2 * learner.epochs * learner.minibatches  # of policy and critic
    numbers = sum(each.numel() for each in profile[0].parameters())
    learn = fit_line(LESSONS, [times[jobs].cpu for jobs in LESSONS])
    return Costs(up, weights, times[0].cpu + case.wait, learn, gradients, 4 * numbers)


def add_vectors(numbers: Sequence[int], group: Group) -> list[float]:
    """Returns the seconds in which a group of learners adds up vectors of so many numbers."""
    times = time_rounds({number: partial(group.add, torch.zeros(number)) for number in numbers}, 50)
    return [times[number].seconds for number in numbers]


def measure_ring() -> Line:
    """Returns the seconds in which two learners add up gradients, by their bytes."""
    gang = make_gang(RayRunner(2, learners=2))
    assert gang is not None
    return fit_line([4 * number for number in VECTORS], gang.run(add_vectors, VECTORS)[0])


def compare_rates(cases: Mapping[str, Case], rounds: int) -> tuple[Line, list[dict[str, Any]]]:
    """Returns the line of messages, and measured and simulated jobs a second for each case and number of workers."""
    times = measure_rates(cases, rounds)
    sizes = {name: Shards(case, 1).measure_bytes() for name, case in cases.items()}
    message = fit_line([sizes[name][0] for name in cases], [times[name][1].cpu for name in cases])
    table, rows = Table(title="jobs a second: measured, simulated from one worker, error"), []
    for head in ("job", "result, MB", "process of the run, ms", "its line, ms", "worker, ms", "1", "2", "3", "4"):
        table.add_column(head, justify="right")
    for name, case in cases.items():
        (up, weights), one = sizes[name], times[name][1]
        worker = one.seconds - message.at(up)
        model, cells = Simulation(Costs(up, weights, worker), message, network=inf), list[str]()
        for count in case.workers:
            measured, simulated = 1 / times[name][count].seconds, SHARDS / model.serve(0.0, count, SHARDS)
            cells.append(f"{measured:.1f} {simulated:.1f} {simulated / measured - 1:+.0%}")
            rows.append({"job": name, "workers": count, "measured": measured, "simulated": simulated})
        milliseconds = (1e3 * each for each in (one.cpu, message.at(up), worker))
        table.add_row(name, f"{up / 1e6:.2f}", *(f"{each:.1f}" for each in milliseconds), *cells)
    CONSOLE.print(table)
    return message, rows


def simulate_designs(costs: Mapping[str, Costs], message: Line, ring: Line) -> list[dict[str, Any]]:
    """Returns the share of their time in which workers play, for each case, design and number of workers."""
    table, rows = Table(title="share of time in which workers play (aggregators or learners); the largest load"), []
    for head in ("job", "design", *map(str, SCALES), f"with {SCALES[-1]}"):
        table.add_column(head, justify="right")
    for name, cost in costs.items():
        model = Simulation(cost, message, ring)
        for title, (design, learns) in DESIGNS.items():
            outcomes = [model.choose(design, workers, learns) for workers in SCALES]
            cells = [f"{each.busy:.0%}" + f" ({each.servers})" * (design != Simulation.star) for each in outcomes]
            load = ", ".join(f"{part} {share:.0%}" for part, share in outcomes[-1].load.items())
            table.add_row(name, title, *cells, f"{outcomes[-1].limit}: {load}")
            rows += [
                {"job": name, "design": title, "workers": workers, **each._asdict()}
                for workers, each in zip(SCALES, outcomes, strict=True)
            ]
    CONSOLE.print(table)
    return rows


CONSOLE = Console(width=150)


def main() -> None:
    """Measures and simulates, and prints tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of measurements (default 5)")
    parser.add_argument("--wait", type=float, default=10.0, help="milliseconds that a step waits (default 10)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    connect(None, 6)  # workers and learners
    message, rates = compare_rates(measured_cases(options.wait / 1000), options.rounds)
    ring = measure_ring()
    CONSOLE.print(f"a message: {message.fixed * 1e3:.2f} ms and {message.each * 1e9:.2f} ms a MB")
    CONSOLE.print(f"two learners add a gradient: {ring.fixed * 1e3:.2f} ms and {ring.each * 1e9:.2f} ms a MB")
    costs = {name: measure_costs(case, options.rounds) for name, case in simulated_cases().items()}
    table = Table(title="costs of a job")
    for head in ("job", "result, MB", "weights, kB", "worker, ms", "learner, ms", "an update, ms", "gradients, kB"):
        table.add_column(head, justify="right")
    for name, cost in costs.items():
        learn = (cost.learn.each * 1e3, cost.learn.fixed * 1e3)
        numbers = (cost.up / 1e6, cost.weights / 1e3, cost.worker * 1e3, *learn)
        table.add_row(name, *(f"{each:.2f}" for each in numbers), f"{cost.gradients} x {cost.gradient / 1e3:.0f}")
    CONSOLE.print(table)
    designs = simulate_designs(costs, message, ring)
    numbers = {"message": message, "ring": ring, "costs": {name: each._asdict() for name, each in costs.items()}}
    print(json.dumps({"benchmark": "ray_scaling", **numbers, "rates": rates, "designs": designs}))


if __name__ == "__main__":
    main()
