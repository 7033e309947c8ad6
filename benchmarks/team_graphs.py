"""Measures what it is worth to teams that their seats see each other's actions, in training and in play.

    python benchmarks/team_graphs.py                                    # everything
    python benchmarks/team_graphs.py --only aloha_10 --seeds 0 1 2
    python benchmarks/team_graphs.py --draw                             # only redraw the picture in docs/

`tables` are teams of tables in the coordination game, which move along exact gradients. Their price of anarchy is their
value divided by the best possible one. The other tasks are learned by networks, with PPO and a joint critic: MAPPO, and
BN-MAPPO (Chen and Zhang 2023, arXiv:2306.01920) with all edges, with edges from each seat to the next, and with learned
graphs whose edges are annealed away in training. Settings of PPO are those of the presets. Returns are sampled, after
the last step, and summarised by the interquartile mean over seeds with a bootstrap interval of 95 %.

Results are saved in docs/team_graphs.json. The last line is JSON; the exit code is 1 if a claim does not hold.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from operator import itemgetter
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap, trim_mean

from games.coordination import Coordination
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.bayes_net.exact import evaluate, joint_policy, nash_conv, optimal_value, policy_gradient
from marl_engine.policies.bayes_net.graphs import GRAPHS, graph_parents, make_graph
from marl_engine.rollout.rollout import score
from marl_engine.runs.factory import build

ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE = (ROOT / "docs" / name for name in ("team_graphs.json", "team_graphs.png"))
TABLES = "tables"
TABLE_TEAMS, FIRST = {2: 200, 3: 200, 5: 40}, 20  # teams of tables by agents; means are also given of the first ones
TABLE_STEPS, STATE_STEP_SIZE = 1000, 0.025  # gradient steps, and their size for each state: few visits, small slopes
POINTS = 60  # of a learning curve
GAMES = 2**40  # seed of the games in which a team is evaluated
MAPPO, COMPLETE, ANNEALED = "MAPPO", "complete", "learned, annealed"
TEAMS = {
    MAPPO: ["responder=mappo"],
    "line": ["solver=bayes_net", "solver.sparse=null", "policy.graph=line"],
    COMPLETE: ["solver=bayes_net", "solver.sparse=null", "policy.graph=complete"],
    ANNEALED: ["solver=bayes_net", "policy.graph=learned"],
}
COLOURS = dict(zip(TEAMS, ("black", "tab:green", "tab:blue", "tab:orange"), strict=True))


class Task(NamedTuple):
    """A game with settings, the length of a run, and returns of simple rules."""

    overrides: list[str]
    steps: int
    games: int  # in the evaluation after the last step
    rules: Sequence[tuple[str, float]] = ()
    teams: tuple[str, ...] = tuple(TEAMS)


SMALL = "policy.hidden=[32,32]"
TASKS = {
    "coordination": Task(
        ["game=coordination", "game.players=3", SMALL], 100_000, 1024, [("always 0", 54.2), ("always 1", 41.9)]
    ),
    "aloha_4": Task(
        ["game=aloha", "game.columns=2", SMALL, "responder.entropy_bonus.over=80_000"],
        100_000,
        1024,
        [("a fixed half sends", 2.48), ("in a fixed order", 3.75)],
    ),
    "aloha_10": Task(["game=aloha", SMALL], 240_000, 1024, [("a fixed half sends", 6.20), ("in a fixed order", 9.27)]),
    "simple_spread": Task(
        ["game=mpe/simple_spread"], 400_000, 1024, [("a landmark for each", -11.95), ("the best assignment", -8.5)]
    ),
    "forced_coordination": Task(
        ["game=overcooked/forced_coordination"], 1_200_000, 256, teams=(MAPPO, COMPLETE, ANNEALED)
    ),  # with two seats a line is complete
}


def train_tables(agents: int, graph: str) -> dict[str, Any]:
    """Trains teams with one graph; returns a row with their prices of anarchy."""
    rules, parents = Coordination(agents).markov_rules(), graph_parents(make_graph(graph, agents))
    generator = torch.Generator().manual_seed(0)
    shapes = [(TABLE_TEAMS[agents], 2**agents, 2 ** len(each), 2) for each in parents]
    logits = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    for _ in range(TABLE_STEPS):
        slopes = policy_gradient(rules, logits, parents)
        logits = [each + STATE_STEP_SIZE * 2**agents * slope for each, slope in zip(logits, slopes, strict=True)]
    tables = [each.softmax(-1) for each in logits]
    prices = evaluate(rules, joint_policy(tables, parents), agents).value.numpy() / optimal_value(rules)
    return {
        "agents": agents,
        "graph": graph,
        "teams": len(prices),
        "price": prices.mean(),
        "error": prices.std(ddof=1) / len(prices) ** 0.5,
        "first": prices[:FIRST].mean(),
        "above_99": (prices > 0.99).mean(),
        "nash_conv": nash_conv(rules, tables, parents).median().item(),
    }


def train_team(name: str, team: str, seed: int) -> dict[str, Any]:
    """Trains a team; returns its learning curve, its return in play, and the CPU seconds of learning."""
    task = TASKS[name]
    parts = build(compose_config("train", [*task.overrides, *TEAMS[team], f"steps={task.steps}", f"seed={seed}"]))
    since, curve = process_time(), []
    for progress in parts.solver.solve(parts.profile, parts.responder):
        steps = parts.responder.work["steps"]
        if "return/mean" in progress.metrics:
            curve.append((steps, progress.metrics["return/mean"]))
        if steps >= task.steps:
            break
    seconds, seeds = process_time() - since, derive_seeds(GAMES, task.games)
    sampled, greedy = (score(parts.game, parts.profile, seeds, greedy=each).mean().item() for each in (False, True))
    pieces = np.array_split(np.array(curve), min(POINTS, len(curve)))
    return {
        "task": name,
        "team": team,
        "seed": seed,
        "sampled": sampled,
        "greedy": greedy,
        "cpu_seconds": round(seconds, 1),
        "curve": [[round(number, 3) for number in piece.mean(0)] for piece in pieces],
    }


def interquartile_mean(numbers: Any, axis: int = -1) -> Any:
    """Returns the mean of what is left without the lowest and the highest quarter, rounded down."""
    return trim_mean(numbers, 0.25, axis=axis)


def bootstrap_interval(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 95 % interval of the interquartile mean over the first axis, by the percentile bootstrap."""
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    generator = np.random.default_rng(0)
    result = bootstrap((numbers,), interquartile_mean, axis=0, method="percentile", random_state=generator)
    return result.confidence_interval.low, result.confidence_interval.high


def summarise(name: str, team: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns a row for the runs of a team in a task."""
    sampled = np.array([run["sampled"] for run in runs])
    low, high = bootstrap_interval(sampled)
    numbers = {
        "value": interquartile_mean(sampled),
        "low": low,
        "high": high,
        "greedy": interquartile_mean([run["greedy"] for run in runs]),
        "cpu_seconds": np.median([run["cpu_seconds"] for run in runs]),
    }
    rounded = {key: float(f"{number:.4g}") for key, number in numbers.items()}
    return {"case": name, "team": team, **rounded, "steps": TASKS[name].steps, "seeds": len(runs)}


key_of = itemgetter("task", "team", "seed")


def save(record: dict[str, Any]) -> None:
    """Writes the record on disk."""
    RECORD.write_text(json.dumps(record) + "\n")


def group_runs(record: dict[str, Any]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Returns the runs by task and team, in the order of TASKS and TEAMS."""
    groups = {
        name: {team: [run for run in record["runs"] if (run["task"], run["team"]) == (name, team)] for team in TEAMS}
        for name in TASKS
    }
    present = {name: {team: runs for team, runs in teams.items() if runs} for name, teams in groups.items()}
    return {name: teams for name, teams in present.items() if teams}


def draw(record: dict[str, Any]) -> None:
    """Draws the learning curves of all tasks, and a table of the last returns below them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks = group_runs(record)
    figure = pyplot.figure(figsize=(2 + 3.4 * len(tasks), 5.4), layout="constrained")
    grid = figure.add_gridspec(2, len(tasks), height_ratios=(3, 1))
    for place, (name, teams) in enumerate(tasks.items()):
        axes = figure.add_subplot(grid[0, place])
        draw_curves(axes, name, teams)
        if place == 0:
            axes.set_ylabel("return while learning")
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2 * len(tasks))
    axes = figure.add_subplot(grid[1, :])
    axes.axis("off")
    cells = [[format_cell(name, team, tasks[name].get(team)) for name in tasks] for team in TEAMS]
    table = axes.table(cells, rowLabels=list(TEAMS), colLabels=list(tasks), loc="center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.4)
    figure.savefig(PICTURE, dpi=110)


def draw_curves(axes: Any, name: str, teams: dict[str, list[dict[str, Any]]]) -> None:
    """Draws the interquartile mean of each team's curves with its interval, and the returns of simple rules."""
    ends = []
    for team, runs in teams.items():
        curves = np.array([run["curve"] for run in runs])  # (seeds, points, 2)
        steps, middle = curves[0, :, 0] / 1000, interquartile_mean(curves[..., 1], axis=0)
        axes.plot(steps, middle, color=COLOURS[team], label=team)
        axes.fill_between(steps, *bootstrap_interval(curves[..., 1]), color=COLOURS[team], alpha=0.2, linewidth=0)
        ends += [*middle[9 * len(middle) // 10 :]]  # what is near the end is to be told apart
    for rule, value in TASKS[name].rules:
        axes.axhline(value, color="grey", linestyle=":")
        axes.annotate(rule, (0.01, value), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
        ends.append(value)
    margin = 0.3 * (max(ends) - min(ends))
    axes.set(title=name, xlabel="thousand steps", ylim=(min(ends) - margin, max(ends) + margin))
    axes.grid(alpha=0.3)


def format_cell(name: str, team: str, runs: list[dict[str, Any]] | None) -> str:
    """Returns the interquartile mean with its interval, or a dash if there are no runs."""
    if not runs:
        return "–"
    row = summarise(name, team, runs)
    return f"{row['value']:.4g}  [{row['low']:.4g}, {row['high']:.4g}]"


def print_tables(record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Prints the prices of anarchy, and the returns of networks."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("agents", "graph", "teams", "price of anarchy", f"first {FIRST}", "above 0.99", "median NashConv")
    for row in record[TABLES]:
        price = f"{row['price']:.3f} ± {row['error']:.3f}"
        others = f"{row['first']:.3f}", f"{row['above_99']:.0%}", f"{row['nash_conv']:.2g}"
        table.add_row(str(row["agents"]), row["graph"], str(row["teams"]), price, *others)
    console.print(table)
    table = Table("task", "team", "return (IQM)", "95 %", "greedy", "seeds", "steps", "CPU seconds")
    for row in rows:
        numbers = f"{row['value']:.4g}", f"{row['low']:.4g} to {row['high']:.4g}", f"{row['greedy']:.4g}"
        counts = str(row["seeds"]), f"{row['steps']:,}", f"{row['cpu_seconds']:.0f}"
        table.add_row(row["case"], row["team"], *numbers, *counts)
    console.print(table)


def failed_claims(record: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Returns the claims that do not hold, as sentences."""
    prices = {(row["agents"], row["graph"]): row["first"] for row in record[TABLES]}
    returns = {(row["case"], row["team"]): row["value"] for row in rows}
    results = []
    for agents in {agents for agents, _ in prices}:
        none, line, complete = (prices[agents, graph] for graph in GRAPHS)
        if not (complete - none >= 0.05 and none < line <= complete):
            results.append(f"prices of {agents} agents do not rise by 0.05: {none:.3f}, {line:.3f}, {complete:.3f}")
    if returns.get(("aloha_10", COMPLETE), 8.5) < 8.5:
        results.append(f"ten stations that see each other's actions earn {returns['aloha_10', COMPLETE]}, not 8.5")
    for team in (MAPPO, ANNEALED):
        if returns.get(("aloha_10", team), 0.0) > 6.2:
            results.append(f"{team} earns {returns['aloha_10', team]}, more than stations can on their own")
    return results


def main() -> int:
    """Trains teams, redraws the picture, and prints tables and a line of JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="SEED", help="default: 0 to 4")
    parser.add_argument("--only", nargs="+", default=[TABLES, *TASKS], choices=[TABLES, *TASKS], metavar="TASK")
    parser.add_argument("--draw", action="store_true", help="only redraw the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {TABLES: [], "runs": []}
    only = [] if options.draw else options.only
    if TABLES in only:
        record[TABLES] = [train_tables(agents, graph) for agents in TABLE_TEAMS for graph in GRAPHS]
        save(record)
    for name, seed in product([name for name in only if name in TASKS], options.seeds):
        for team in TASKS[name].teams:
            run = train_team(name, team, seed)
            record["runs"] = [old for old in record["runs"] if key_of(old) != key_of(run)] + [run]
            save(record)
    rows = [summarise(name, team, runs) for name, teams in group_runs(record).items() for team, runs in teams.items()]
    draw(record)
    print_tables(record, rows)
    failures = failed_claims(record, rows)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"benchmark": "team_graphs", TABLES: record[TABLES], "rows": rows}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
