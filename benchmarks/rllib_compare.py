"""Compares PPO on Overcooked with RLlib's: steps of the game per CPU-second, over whole training iterations.

    make .peers/rllib/installed-engine && python benchmarks/rllib_compare.py

Both play 64 copies of cramped_room for 64 steps and learn from them in 4 epochs of minibatches of 2,048 decisions, with
networks of two layers of 64 units for policy and critic, one thread each. RLlib has no environment runners, or two,
which are processes. The programs stay open and are measured in turn. The last line is JSON; a ratio above 1 means that
marl_engine is faster.
"""

import argparse
import os
from contextlib import ExitStack
from statistics import median
from time import perf_counter, process_time

import torch
from side_by_side import ROOT, PeerProcess, Row, format_json, print_table, require_peers

from games.overcooked import Overcooked
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO

LAYOUT = "cramped_room"
RUNNERS = (0, 2)


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


def main() -> None:
    """Measures in turn, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each program (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU-seconds of a measurement (default 3)")
    parser.add_argument("--runners", type=int, nargs="+", default=list(RUNNERS), help="RLlib's environment runners")
    options = parser.parse_args()
    require_peers(["rllib"])
    torch.set_num_threads(1)
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    learner, speeds = (
        Learner(),
        {runners: list[tuple[dict[str, float], dict[str, float]]]() for runners in options.runners},
    )
    learner.measure(options.seconds)
    for runners, pairs in speeds.items():
        with ExitStack() as stack:
            peer = stack.enter_context(PeerProcess("rllib", "rllib_ppo.py", LAYOUT, runners))
            for _ in range(options.repeats):
                pairs.append((learner.measure(options.seconds), peer.measure(options.seconds)))
    rows = [
        Row(
            f"{LAYOUT}, per {name}",
            f"RLlib 2.60 PPO, {runners} environment runners",
            median(own[key] / other[key] for own, other in pairs),
            median(own[key] for own, _ in pairs),
            median(other[key] for _, other in pairs),
            "steps/s",
        )
        for runners, pairs in speeds.items()
        for key, name in (("cpu", "CPU-second"), ("wall", "second"))
    ]
    print_table("PPO on Overcooked, one thread", "peer", rows)
    print(format_json("rllib_compare", rows))


if __name__ == "__main__":
    main()
