"""Compares PPO on Overcooked with RLlib's: steps of the game per CPU-second, and seconds until a return.

    make .peers/rllib/installed-engine && python benchmarks/rllib_compare.py
    python benchmarks/rllib_compare.py --seeds 0 1 --repeats 0      # only the seconds until a return

Both play 64 copies of cramped_room for 64 steps and learn from them in 4 epochs of minibatches of 2,048 decisions, with
networks of two layers of 64 units for policy and critic, one thread each. RLlib has no environment runners, or two,
which are processes. The programs stay open and are measured in turn, over whole training iterations.

Then both learn, one program after the other, with the schedules of `marl-train game=overcooked`: this engine in one
process and with `runner=ray runner.workers=2`, and RLlib without environment runners, which is its faster way here.
Seconds are those since the call of the program, until the first iteration whose finished episodes return 100, 160 and
200 on average. The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import json
import os
import subprocess
import time
from contextlib import ExitStack
from statistics import median
from time import perf_counter, process_time

import torch
from overcooked_learning import TARGETS, Curve, first_at, run_engine
from side_by_side import ROOT, SCRIPTS, PeerProcess, Row, format_json, peer_python, print_table, require_peers

from games.overcooked import Overcooked
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO

LAYOUT = "cramped_room"
RUNNERS = (0, 2)
MOST_STEPS = 1_000_000  # of a run by RLlib
ENGINES = {
    "one process": [],
    "runner=ray, 2 workers": ["responder.shard=32", "runner=ray", "runner.workers=2"],
}


class Learner:
    """This engine's PPO."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        game, network = Overcooked(LAYOUT), MLPSpec(hidden=[64, 64])
        self.profile = network.profile(game)
        self.responder = PPO(game, network, num_envs=64, rollout_length=64, epochs=4, minibatches=4)

    def measure(self, seconds: float) -> dict[str, float]:
        """Returns steps per CPU-second and per second, over whole iterations."""
        steps, busy, start = 0, process_time(), perf_counter()
        while not steps or process_time() < busy + seconds:
            steps += self.responder.respond(self.profile).work["steps"]
        return {"cpu": steps / (process_time() - busy), "wall": steps / (perf_counter() - start)}


def compare_speed(repeats: int, seconds: float, runners: list[int]) -> list[Row]:
    """Measures steps per CPU-second and per second in turn; returns rows of medians."""
    learner, rows = Learner(), list[Row]()
    learner.measure(seconds)
    for count in runners:
        with ExitStack() as stack:
            peer = stack.enter_context(PeerProcess("rllib", "rllib_ppo.py", LAYOUT, count))
            pairs = [(learner.measure(seconds), peer.measure(seconds)) for _ in range(repeats)]
        rows += [
            Row(
                f"{LAYOUT}, per {name}",
                f"RLlib 2.60 PPO, {count} environment runners",
                median(own[key] / other[key] for own, other in pairs),
                median(own[key] for own, _ in pairs),
                median(other[key] for _, other in pairs),
                "steps/s",
            )
            for key, name in (("cpu", "CPU-second"), ("wall", "second"))
        ]
    return rows


def learn_by_rllib(seed: int) -> Curve:
    """Trains by RLlib until the last of the returns; returns the learning curve, in seconds since the call."""
    start = time.time()
    script = SCRIPTS / "rllib_learning.py"
    command = [str(peer_python("rllib")), str(script), LAYOUT, str(seed), str(MOST_STEPS), str(TARGETS[-1])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} failed: {done.stderr.strip().splitlines()[-1]}")
    return [{**point, "seconds": point["time"] - start} for point in map(json.loads, done.stdout.splitlines())]


def compare_learning(seeds: list[int]) -> list[Row]:
    """Trains in turn with each seed; returns rows of the median seconds until each return."""
    curves: dict[str, list[Curve]] = {"RLlib": [], **{name: [] for name in ENGINES}}
    for seed in seeds:
        for name, keys in ENGINES.items():
            curves[name].append(run_engine(LAYOUT, seed, ["threads=1", *keys])["curve"])
        curves["RLlib"].append(learn_by_rllib(seed))
    rows = []
    for target in TARGETS:
        medians = {name: median(first_at(curve, target, "seconds") for curve in each) for name, each in curves.items()}
        rows += [
            Row(f"{LAYOUT} to {target}, {name}", "RLlib 2.60 PPO", medians["RLlib"] / own, own, medians["RLlib"], "s")
            for name, own in medians.items()
            if name != "RLlib"
        ]
    return rows


def main() -> None:
    """Measures in turn, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each program (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU-seconds of a measurement (default 3)")
    parser.add_argument("--runners", type=int, nargs="+", default=list(RUNNERS), help="RLlib's environment runners")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of the runs until a return (default 0)")
    options = parser.parse_args()
    require_peers(["rllib"])
    torch.set_num_threads(1)
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    rows = compare_speed(options.repeats, options.seconds, options.runners) if options.repeats else []
    rows += compare_learning(options.seeds) if options.seeds else []
    print_table("PPO on Overcooked, one thread", "peer", rows)
    print(format_json("rllib_compare", rows))


if __name__ == "__main__":
    main()
