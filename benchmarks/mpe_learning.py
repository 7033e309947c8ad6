"""Compares IPPO on particle worlds with JaxMARL's IPPO, after equal numbers of steps.

    python benchmarks/mpe_learning.py CHECKOUT --seeds 3     # CHECKOUT: a clone of JaxMARL

Runs of `marl-train game=mpe/WORLD responder=ippo` and of JaxMARL's own script, with its defaults, alternate. The rows
are the mean return of an agent in an episode of 25 steps, with sampled actions, and the CPU seconds of the whole
command, start and compilation included; medians over seeds. The last line is JSON; a ratio above 1 means that
marl_engine loses less, or is faster.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import Row, format_json, print_table, require_peers, run_peer

WORLDS = {"simple_spread": "simple_spread_v3", "simple_speaker_listener": "simple_speaker_listener_v4"}


def train(world: str, seed: int) -> dict[str, float]:
    """Runs `marl-train`; returns its return, its steps and the CPU seconds of the process."""
    command = [
        Path(sys.executable).parent / "marl-train",
        f"game=mpe/{world}",
        "responder=ippo",
        f"seed={seed}",
        "run=x",
    ]
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        summary = json.loads((Path(folder) / "runs/x/summary.json").read_text())
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return {"return": summary["return/mean"], "steps": summary["steps"], "cpu_seconds": seconds}


def main() -> None:
    """Runs all seeds of all worlds, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of JaxMARL's repository")
    parser.add_argument("--worlds", nargs="+", default=["simple_spread"], choices=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    require_peers(["jaxmarl"])
    rows = []
    for world in options.worlds:
        runs: list[dict[str, Any]] = []
        peer_runs: list[dict[str, Any]] = []
        for seed in range(options.seeds):
            runs.append(train(world, seed))
            steps = runs[-1]["steps"]
            peer_runs.append(run_peer("jaxmarl", "jaxmarl_mpe.py", options.checkout, WORLDS[world], seed, steps))
        note = " to ".join(", ".join(f"{run['return']:.2f}" for run in each) for each in (runs, peer_runs))
        for key, unit in (("return", "return"), ("cpu_seconds", "CPU s")):
            value, peer_value = (median(run[key] for run in each) for each in (runs, peer_runs))
            rows.append(
                Row(f"{world}, {steps:,} steps", "JaxMARL IPPO", peer_value / value, value, peer_value, unit, note)
            )
            note = ""
    print_table("particle worlds", "peer", rows)
    print(format_json("mpe_learning", rows))


if __name__ == "__main__":
    main()
