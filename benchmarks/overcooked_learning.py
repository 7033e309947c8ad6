"""How soon a team cooks: seconds (start included) and steps to a return, here and with JaxMARL's own script.

    python benchmarks/overcooked_learning.py --seeds 5 --jaxmarl CHECKOUT     # of its repository, for its script
    python benchmarks/overcooked_learning.py --layouts all --seeds 3          # where the five classics end
    python benchmarks/overcooked_learning.py --draw                           # picture and table in docs/ again

Without a checkout JaxMARL's figures are those recorded on two such cores. Runs take turns, so that both
see the same machine. What was measured is kept in docs/overcooked_learning.json.
"""

import argparse
import json
import subprocess
import sys
import time
from math import isfinite
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
RECORD, PICTURE = ROOT / "docs/overcooked_learning.json", ROOT / "docs/overcooked_learning.png"
PEER = ROOT / ".peers/jaxmarl/bin/python"
TARGETS = (100, 160, 200)
CLASSICS = {  # ours: JaxMARL's name, and the return that a run is expected to end above
    "cramped_room": ("cramped_room", 230),
    "coordination_ring": ("coord_ring", 160),
    "asymmetric_advantages": ("asymm_advantages", 260),
    "forced_coordination": ("forced_coord", 140),
    "counter_circuit": ("counter_circuit", 100),
}
RECORDED = {  # JaxMARL on cramped_room: at the first check of the return
    100: {"seconds": 68.0, "steps": 0.49e6},
    200: {"seconds": 97.0, "steps": 0.98e6},
}
JAXMARL_ENDS = {"cramped_room": 240, "asymmetric_advantages": 275}  # after 5 M steps, recorded; the others: 0
PAGE = ROOT / "docs/overcooked.md"
BEGIN, END = "<!-- written by benchmarks/overcooked_learning.py -->\n", "<!-- until here -->\n"
GREEDY = "return/greedy/mean"
Curve = list[dict[str, float]]


def ours(layout: str, seed: int) -> dict[str, Any]:
    """One run of the public command: its curve in seconds since it was called, and where it ended."""
    name = f"benchmark_{layout}_{seed}"
    game = "overcooked" if layout == "cramped_room" else f"overcooked/{layout}"
    began = time.time()
    command = [
        Path(sys.executable).parent / "marl-train",
        f"game={game}",
        f"run={name}",
        f"seed={seed}",
        "overwrite=true",
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    folder = ROOT / "runs" / name
    summary = json.loads((folder / "summary.json").read_text())
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    late = summary["started"] - began
    curve = [
        {"seconds": each["seconds"] + late, "steps": each["steps"], "return": each["return/mean"]}
        for each in records
        if "return/mean" in each
    ]
    results = {key: summary[key] for key in ("return/mean", "return/stderr", "return/greedy/mean", "steps")}
    return {"layout": layout, "seed": seed, "curve": curve, "seconds": time.time() - began, **results}


def theirs(checkout: Path, layout: str, seed: int, steps: float) -> dict[str, Any]:
    """One run of JaxMARL's script, until it reaches the last target or so many steps."""
    began = time.time()
    script = ROOT / "benchmarks/peers/jaxmarl_overcooked.py"
    arguments = map(str, (PEER, script, checkout, CLASSICS[layout][0], seed, steps, TARGETS[-1]))
    out = subprocess.run([*arguments], cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"JaxMARL's script printed nothing: {out.stderr.splitlines()[-1:]}")
    curve = [{"seconds": each["time"] - began, "steps": each["steps"], "return": each["return"]} for each in lines]
    return {"layout": layout, "seed": seed, "curve": curve, "seconds": time.time() - began}


def reached(curve: Curve, target: float, axis: str) -> float:
    """Seconds or steps to the first measured return of at least `target`; infinity where there is none."""
    return next((point[axis] for point in curve if point["return"] >= target), float("inf"))


def compared(mine: list[dict], peers: list[dict]) -> list[dict[str, Any]]:
    """Rows for each target: median seconds and steps of both; the peer's recorded figures where it was not run.

    A target that half of the runs never reach has no figure: None.
    """
    rows = []
    for target in TARGETS:
        for axis, unit in (("seconds", "s"), ("steps", "steps")):
            here = median(reached(run["curve"], target, axis) for run in mine)
            if peers:
                there = median(reached(run["curve"], target, axis) for run in peers)
            elif target in RECORDED:
                there = RECORDED[target][axis]
            else:
                continue
            results = {"ratio": there / here, "ours": here, "theirs": there}
            numbers = {key: number if isfinite(number) else None for key, number in results.items()}
            peer = "JaxMARL ippo_ff_overcooked" + ("" if peers else " (recorded)")
            rows.append({"case": f"{mine[0]['layout']} to {target}", "peer": peer, **numbers, "unit": unit})
    return rows


def endings(runs: list[dict]) -> list[dict[str, Any]]:
    """A row for each layout: the lowest final return of all seeds over the one that it is expected to pass."""
    rows = []
    for layout, (_, bar) in CLASSICS.items():
        lowest = min((run["return/mean"] for run in runs if run["layout"] == layout), default=None)
        if lowest is not None:
            rows.append(
                {
                    "case": f"{layout}, lowest end",
                    "peer": "bar",
                    "ratio": lowest / bar,
                    "ours": lowest,
                    "theirs": bar,
                    "unit": "return",
                }
            )
    return rows


def printed(console: Console, runs: list[dict], rows: list[dict]) -> None:
    """Two tables: every run, and the comparison."""
    table = Table(
        "layout", "seed", *(f"s to {target}" for target in TARGETS), "steps to 200", "end", "greedy", "steps", "seconds"
    )
    for run in runs:
        seconds = [f"{reached(run['curve'], target, 'seconds'):.1f}" for target in TARGETS]
        steps = f"{reached(run['curve'], 200, 'steps'):,.0f}"
        end = f"{run['return/mean']:.1f} ± {run['return/stderr']:.1f}"
        greedy = f"{run['return/greedy/mean']:.0f}"
        table.add_row(
            run["layout"], str(run["seed"]), *seconds, steps, end, greedy, f"{run['steps']:,}", f"{run['seconds']:.0f}"
        )
    console.print(table)
    table = Table("case", "peer", "ours", "theirs", "unit", "ratio")
    for row in rows:
        table.add_row(
            row["case"],
            row["peer"],
            *("-" if row[key] is None else f"{row[key]:,.1f}" for key in ("ours", "theirs")),
            row["unit"],
            "-" if row["ratio"] is None else f"{row['ratio']:.1f}",
        )
    console.print(table)


def draw(record: dict[str, list[dict]]) -> None:
    """Return against seconds since the command was called, a panel for each layout."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    layouts = [layout for layout in CLASSICS if any(run["layout"] == layout for run in record["ours"])]
    figure, panels = pyplot.subplots(
        1, len(layouts), figsize=(3.4 * len(layouts), 3.2), layout="constrained", squeeze=False
    )
    for layout, axes in zip(layouts, panels[0], strict=True):
        for who, colour in (("ours", "tab:blue"), ("jaxmarl", "tab:orange")):
            for index, run in enumerate(run for run in record[who] if run["layout"] == layout):
                seconds, values = ([point[key] for point in run["curve"]] for key in ("seconds", "return"))
                name = {"ours": "marl_engine", "jaxmarl": "JaxMARL"}[who] if index == 0 else None
                axes.plot(seconds, values, color=colour, alpha=0.7, label=name)
        axes.axhline(CLASSICS[layout][1], color="grey", linestyle=":")
        axes.set(title=layout, xlabel="seconds, start included")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("return of an episode")
    panels[0][0].legend()
    figure.savefig(PICTURE, dpi=120)


def write_table(record: dict[str, list[dict]]) -> None:
    """Where each layout ends, as the table in docs/overcooked.md."""
    lines = [
        "| layout | seeds | ends at (sampled, each seed) | greedy | steps | wall, start included | bar "
        "| JaxMARL after 5 M steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for layout, (_, bar) in CLASSICS.items():
        if runs := sorted((run for run in record["ours"] if run["layout"] == layout), key=itemgetter("seed")):
            ends, greedy = (", ".join(f"{run[key]:.0f}" for run in runs) for key in ("return/mean", GREEDY))
            steps, wall = runs[0]["steps"] / 1e6, median(run["seconds"] for run in runs)
            cells = (
                layout,
                len(runs),
                ends,
                greedy,
                f"{steps:.1f} M",
                f"{wall:.0f} s",
                bar,
                JAXMARL_ENDS.get(layout, 0),
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)


def kept(record: dict[str, list[dict]], name: str, run: dict[str, Any]) -> None:
    """Puts a run into the record on disk, in place of the same one measured before; curves are thinned out."""
    curve = run["curve"]
    run = {**run, "curve": [*curve[:: max(1, len(curve) // 150)], curve[-1]]}
    same = [each for each in record[name] if (each["layout"], each["seed"]) == (run["layout"], run["seed"])]
    record[name] = [each for each in record[name] if each not in same] + [run]
    RECORD.write_text(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--layouts", nargs="+", default=["cramped_room"], choices=[*CLASSICS, "all"])
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of JaxMARL's repository")
    parser.add_argument("--jaxmarl-steps", type=float, default=1.5e6)
    parser.add_argument("--draw", action="store_true", help="only redraw the picture and the table")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"ours": [], "jaxmarl": []}
    if options.draw:
        draw(record)
        return write_table(record)
    if options.jaxmarl and not PEER.exists():
        parser.exit(2, "JaxMARL's environment is missing: run `make peers`\n")
    layouts = list(CLASSICS) if "all" in options.layouts else options.layouts
    mine, peers = [], []
    for layout in layouts:
        for seed in range(options.seeds):
            mine.append(ours(layout, seed))
            kept(record, "ours", mine[-1])
            if options.jaxmarl:
                peers.append(theirs(options.jaxmarl, layout, seed, options.jaxmarl_steps))
                kept(record, "jaxmarl", peers[-1])
    rows = []
    for layout in layouts:
        here = [run for run in mine if run["layout"] == layout]
        there = [run for run in peers if run["layout"] == layout]
        if there or layout == "cramped_room":
            rows += compared(here, there)
    rows += endings(mine)
    printed(Console(width=140), mine, rows)
    draw(record)
    write_table(record)
    print(json.dumps({"benchmark": "overcooked_learning", "rows": rows}))


if __name__ == "__main__":
    main()
