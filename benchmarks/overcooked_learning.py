"""Measures how fast a team learns Overcooked: seconds and steps until a return, compared with JaxMARL.

    python benchmarks/overcooked_learning.py --seeds 5 --jaxmarl CHECKOUT     # CHECKOUT: a clone of JaxMARL
    python benchmarks/overcooked_learning.py --layouts all --seeds 3          # final returns on five layouts
    python benchmarks/overcooked_learning.py --draw                           # only redraw picture and table in docs/

Seconds are counted from the call of the command, including its start. Runs of marl_engine (`marl-train`) and of
JaxMARL's own training script alternate on the same machine. Without a checkout, recorded figures of JaxMARL are used,
which were measured on two cores of the same kind. All runs are saved in docs/overcooked_learning.json.

The last line is JSON; a ratio above 1 means that marl_engine is faster, or that a final return is above its bar.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from math import isfinite
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
RECORD, PICTURE = ROOT / "docs/overcooked_learning.json", ROOT / "docs/overcooked_learning.png"
PEER = ROOT / ".peers/jaxmarl/bin/python"
TARGETS = (100, 160, 200)


class Kitchen(NamedTuple):
    """A kitchen, and what is known of it."""

    words: list[str]  # of marl-train
    jaxmarl: str  # its name there
    bar: float  # the return that a run is expected to exceed
    peer: float = 0.0  # return of JaxMARL's own script after 5 M steps, recorded


CLASSICS = {
    "cramped_room": Kitchen(["game=overcooked"], "cramped_room", 230, 240),
    "coordination_ring": Kitchen(["game=overcooked/coordination_ring", "solver=e3t"], "coord_ring", 200),
    "asymmetric_advantages": Kitchen(["game=overcooked/asymmetric_advantages"], "asymm_advantages", 430, 275),
    "asymm_advantages": Kitchen(
        ["game=overcooked/asymmetric_advantages", "game.layout=asymm_advantages"], "asymm_advantages", 470, 275
    ),  # as JaxMARL draws it
    "forced_coordination": Kitchen(["game=overcooked/forced_coordination"], "forced_coord", 170),
    "counter_circuit": Kitchen(["game=overcooked/counter_circuit"], "counter_circuit", 100),
}
JAXMARL = {  # recorded figures on cramped_room, by target: at the first log entry with that return
    100: {"seconds": 68.0, "steps": 0.49e6},
    200: {"seconds": 97.0, "steps": 0.98e6},
}
PAGE = ROOT / "docs/overcooked.md"
BEGIN, END = "<!-- written by benchmarks/overcooked_learning.py -->\n", "<!-- until here -->\n"
GREEDY = "return/greedy/mean"
ENGINE = "marl_engine"  # key of its runs in the record, beside "jaxmarl"
Curve = list[dict[str, float]]


def run_engine(layout: str, seed: int, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Runs `marl-train`, also with further keys; returns the learning curve, in seconds since the call, and its end."""
    name = f"benchmark_{layout}_{seed}"
    start = time.time()
    command = [
        Path(sys.executable).parent / "marl-train",
        *CLASSICS[layout].words,
        f"run={name}",
        f"seed={seed}",
        "overwrite=true",
        *keys,
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    folder = ROOT / "runs" / name
    summary = json.loads((folder / "summary.json").read_text())
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    delay = summary["started"] - start
    curve = [
        {"seconds": record["seconds"] + delay, "steps": record["steps"], "return": record["return/mean"]}
        for record in records
        if "return/mean" in record
    ]
    results = {key: summary[key] for key in ("return/mean", "return/stderr", "return/greedy/mean", "steps")}
    return {"layout": layout, "seed": seed, "curve": curve, "seconds": time.time() - start, **results}


def run_jaxmarl(checkout: Path, layout: str, seed: int, steps: float) -> dict[str, Any]:
    """Runs JaxMARL's script until the last target or for a number of steps; returns its learning curve."""
    start = time.time()
    script = ROOT / "benchmarks/peers/jaxmarl_overcooked.py"
    arguments = map(str, (PEER, script, checkout, CLASSICS[layout].jaxmarl, seed, steps, TARGETS[-1]))
    process = subprocess.run([*arguments], cwd=ROOT, capture_output=True, text=True)
    records = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    if not records:
        raise SystemExit(f"JaxMARL's script printed nothing: {process.stderr.splitlines()[-1:]}")
    curve = [
        {"seconds": record["time"] - start, "steps": record["steps"], "return": record["return"]} for record in records
    ]
    return {"layout": layout, "seed": seed, "curve": curve, "seconds": time.time() - start}


def first_at(curve: Curve, target: float, axis: str) -> float:
    """Returns the seconds or steps at the first return of at least `target`; infinity if there is none."""
    return next((point[axis] for point in curve if point["return"] >= target), float("inf"))


def compare_runs(runs: list[dict], peer_runs: list[dict]) -> list[dict[str, Any]]:
    """Returns rows with the median seconds and steps to each target, for runs of one layout.

    Without runs of the peer, its recorded figures are used. A number is None if half of the runs do not reach the
    target.
    """
    rows = []
    for target in TARGETS:
        for axis, unit in (("seconds", "s"), ("steps", "steps")):
            value = median(first_at(run["curve"], target, axis) for run in runs)
            if peer_runs:
                peer_value = median(first_at(run["curve"], target, axis) for run in peer_runs)
            elif target in JAXMARL:
                peer_value = JAXMARL[target][axis]
            else:
                continue
            results = {"ratio": peer_value / value, "value": value, "peer_value": peer_value}
            numbers = {key: number if isfinite(number) else None for key, number in results.items()}
            peer = "JaxMARL ippo_ff_overcooked" + ("" if peer_runs else " (recorded)")
            rows.append({"case": f"{runs[0]['layout']} to {target}", "peer": peer, **numbers, "unit": unit})
    return rows


def compare_with_bars(runs: list[dict]) -> list[dict[str, Any]]:
    """Returns a row for each layout: the lowest final return over seeds, and the bar."""
    rows = []
    for layout, kitchen in CLASSICS.items():
        lowest = min((run["return/mean"] for run in runs if run["layout"] == layout), default=None)
        if lowest is not None:
            numbers = {"ratio": lowest / kitchen.bar, "value": lowest, "peer_value": kitchen.bar}
            rows.append({"case": f"{layout}, lowest final return", "peer": "bar", **numbers, "unit": "return"})
    return rows


def print_tables(console: Console, runs: list[dict], rows: list[dict]) -> None:
    """Prints a table of all runs, and a table of the comparisons."""
    table = Table(
        "layout", "seed", *(f"s to {target}" for target in TARGETS), "steps to 200", "end", "greedy", "steps", "seconds"
    )
    for run in runs:
        seconds = [f"{first_at(run['curve'], target, 'seconds'):.1f}" for target in TARGETS]
        steps = f"{first_at(run['curve'], 200, 'steps'):,.0f}"
        end = f"{run['return/mean']:.1f} ± {run['return/stderr']:.1f}"
        greedy = f"{run['return/greedy/mean']:.0f}"
        table.add_row(
            run["layout"], str(run["seed"]), *seconds, steps, end, greedy, f"{run['steps']:,}", f"{run['seconds']:.0f}"
        )
    console.print(table)
    table = Table("case", "peer", "marl_engine", "peer", "unit", "ratio")
    for row in rows:
        table.add_row(
            row["case"],
            row["peer"],
            *("-" if row[key] is None else f"{row[key]:,.1f}" for key in ("value", "peer_value")),
            row["unit"],
            "-" if row["ratio"] is None else f"{row['ratio']:.1f}",
        )
    console.print(table)


def draw(record: dict[str, list[dict]]) -> None:
    """Draws returns against seconds since the call of the command, with one panel for each layout."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    layouts = [layout for layout in CLASSICS if any(run["layout"] == layout for run in record[ENGINE])]
    figure, panels = pyplot.subplots(
        1, len(layouts), figsize=(3.4 * len(layouts), 3.2), layout="constrained", squeeze=False
    )
    for layout, axes in zip(layouts, panels[0], strict=True):
        for program, label, colour in ((ENGINE, "marl_engine", "tab:blue"), ("jaxmarl", "JaxMARL", "tab:orange")):
            for index, run in enumerate(run for run in record[program] if run["layout"] == layout):
                seconds, values = ([point[key] for point in run["curve"]] for key in ("seconds", "return"))
                axes.plot(seconds, values, color=colour, alpha=0.7, label=label if index == 0 else None)
        axes.axhline(CLASSICS[layout].bar, color="grey", linestyle=":")
        axes.set(title=layout, xlabel="seconds, including start-up")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("return of an episode")
    panels[0][0].legend()
    figure.savefig(PICTURE, dpi=120)


def write_table(record: dict[str, list[dict]]) -> None:
    """Writes the final returns of all layouts into the table in docs/overcooked.md."""
    lines = [
        "| layout | seeds | final return (sampled, each seed) | greedy | steps | wall time, including start-up "
        "| expected at least | JaxMARL after 5 M steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for layout, kitchen in CLASSICS.items():
        if runs := sorted((run for run in record[ENGINE] if run["layout"] == layout), key=itemgetter("seed")):
            ends, greedy = (", ".join(f"{run[key]:.0f}" for run in runs) for key in ("return/mean", GREEDY))
            steps, wall = runs[0]["steps"] / 1e6, median(run["seconds"] for run in runs)
            cells = (
                " ".join([layout, *(f"`{word}`" for word in kitchen.words[1:])]),
                len(runs),
                ends,
                greedy,
                f"{steps:.1f} M",
                f"{wall:.0f} s",
                kitchen.bar,
                f"{kitchen.peer:g}",
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    head, tail = PAGE.read_text().split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + tail.split(END)[1])


def save_run(record: dict[str, list[dict]], program: str, run: dict[str, Any]) -> None:
    """Adds a run to the record on disk, and removes an older run of the same layout and seed.

    Of the curve, about 150 points are saved.
    """
    curve, key = run["curve"], itemgetter("layout", "seed")
    run = {**run, "curve": [*curve[:: max(1, len(curve) // 150)], curve[-1]]}
    record[program] = [old for old in record[program] if key(old) != key(run)] + [run]
    RECORD.write_text(json.dumps(record) + "\n")


def main() -> None:
    """Runs the comparisons, redraws picture and table, and prints tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--layouts", nargs="+", default=["cramped_room"], choices=[*CLASSICS, "all"])
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of JaxMARL's repository")
    parser.add_argument("--jaxmarl-steps", type=float, default=1.5e6)
    parser.add_argument("--draw", action="store_true", help="only redraw the picture and the table")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {ENGINE: [], "jaxmarl": []}
    if options.draw:
        draw(record)
        return write_table(record)
    if options.jaxmarl and not PEER.exists():
        parser.exit(2, "JaxMARL's environment is missing: run `make peers`\n")
    layouts = list(CLASSICS) if "all" in options.layouts else options.layouts
    runs, peer_runs = [], []
    for layout in layouts:
        for seed in range(options.seeds):
            runs.append(run_engine(layout, seed))
            save_run(record, ENGINE, runs[-1])
            if options.jaxmarl:
                peer_runs.append(run_jaxmarl(options.jaxmarl, layout, seed, options.jaxmarl_steps))
                save_run(record, "jaxmarl", peer_runs[-1])
    rows = []
    for layout in layouts:
        own, peer = ([run for run in program if run["layout"] == layout] for program in (runs, peer_runs))
        if peer or layout == "cramped_room":
            rows += compare_runs(own, peer)
    rows += compare_with_bars(runs)
    print_tables(Console(width=140), runs, rows)
    draw(record)
    write_table(record)
    print(json.dumps({"benchmark": "overcooked_learning", "rows": rows}))


if __name__ == "__main__":
    main()
