"""Compares IPPO on simple_spread with JaxMARL's IPPO, after equal numbers of steps.

    python benchmarks/mpe_learning.py CHECKOUT --seeds 3     # CHECKOUT: a clone of JaxMARL

Runs of `marl-train game=mpe/simple_spread responder=ippo` and of JaxMARL's own script, with its defaults, alternate.
The rows are the mean return of an agent in an episode of 25 steps, with sampled actions, and the CPU seconds of the
whole command, start and compilation included; medians over seeds. The last line is JSON; a ratio above 1 means that
marl_engine loses less, or is faster. (JaxMARL's script needs agents with equal spaces, so there is no other world.)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from side_by_side import Row, format_json, print_table, require_peers, run_peer


def train(seed: int) -> dict[str, float]:
    """Runs `marl-train`; returns its return, its steps and the CPU seconds of the process."""
    program = Path(sys.executable).parent / "marl-train"
    words = ["game=mpe/simple_spread", "responder=ippo", f"seed={seed}", "run=x"]
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        subprocess.run([program, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        summary = json.loads((Path(folder) / "runs/x/summary.json").read_text())
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return {"return": summary["return/mean"], "steps": summary["steps"], "cpu_seconds": seconds}


def main() -> None:
    """Runs all seeds, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of JaxMARL's repository")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    require_peers(["jaxmarl"])
    runs, peer_runs = [], []
    for seed in range(options.seeds):
        runs.append(train(seed))
        steps = int(runs[-1]["steps"])
        peer_runs.append(
            run_peer("jaxmarl", "jaxmarl_mpe.py", options.checkout.resolve(), "simple_spread_v3", seed, steps)
        )
        print(f"seed {seed}: {runs[-1]}, JaxMARL {peer_runs[-1]}", flush=True)
    note = " to ".join(", ".join(f"{run['return']:.2f}" for run in each) for each in (runs, peer_runs))
    rows = []
    for key, unit in (("return", "return"), ("cpu_seconds", "CPU s")):
        value, peer_value = (median(run[key] for run in each) for each in (runs, peer_runs))
        rows.append(
            Row(f"simple_spread, {steps:,} steps", "JaxMARL", peer_value / value, value, peer_value, unit, note)
        )
        note = ""
    print_table("particle worlds", "peer", rows)
    print(format_json("mpe_learning", rows))


if __name__ == "__main__":
    main()
