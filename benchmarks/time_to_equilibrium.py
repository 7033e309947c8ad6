"""Measures the seconds until NashConv is 1e-2, 1e-3 and 1e-4 for all exact solvers, and for CFR and CFR+ of OpenSpiel.

    python benchmarks/time_to_equilibrium.py --games kuhn_poker --solvers cfr_plus dcfr
    python benchmarks/time_to_equilibrium.py --draw           # only redraw the picture and the table in docs/

The solvers of marl_engine run as in `marl-train`, with their presets and the changes in SOLVERS. OpenSpiel's solvers
are those in C++. The time to compute NashConv is included for marl_engine, and not for OpenSpiel; loading a game is
never included. A solver has no number for goals that it does not reach in its time limit.

The table compares the fastest solver of each program for each goal. Curves are saved in docs/time_to_equilibrium.json.
The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import json
import time
from pathlib import Path

from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.openspiel.game import OpenSpiel
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.runs.factory import build

ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE, PAGE = (
    ROOT / "docs" / name for name in ("time_to_equilibrium.json", "time_to_equilibrium.png", "equilibria.md")
)
BEGIN, END = "<!-- time to equilibrium -->\n", "<!-- end -->"
GOALS = (1e-2, 1e-3, 1e-4)
GAMES = {
    "kuhn_poker": "kuhn_poker",
    "leduc_poker": "leduc_poker",
    "liars_dice": "liars_dice",
    "goofspiel": "goofspiel(imp_info=True,num_cards=5,points_order=descending)",
}
STRIDE = "solver.stride=20"  # iterations between two evaluations of the average strategy
SOLVERS = {  # changes to the preset, by its name
    "cfr": [STRIDE],
    "cfr_plus": [STRIDE],
    "linear_cfr": [STRIDE],
    "dcfr": [STRIDE],
    "pcfr_plus": [STRIDE],
    "pdcfr_plus": [STRIDE],
    "external_mccfr": [],
    "omwu": [],
    "comal": [],
    "r_nad": [],
    "mmd": ["solver.anneal=true", "solver.step_size=1", "solver.magnet_weight=5"],
    "fictitious_play": [],
    "double_oracle": [],
    "anytime_double_oracle": [],
}
PEERS = ("CFR", "CFR+")

ENGINE, OPENSPIEL = "marl_engine", "OpenSpiel"  # keys of the record

Curve = list[tuple[float, float]]  # seconds and NashConv
Record = dict[str, dict[str, dict[str, Curve]]]  # curves by game, program and solver


def run_solver(name: str, game: str, seconds: float) -> Curve:
    """Runs a solver until the last goal, or for `seconds`; returns its curve."""
    parts = build(
        compose_config("train", [f"solver={name}", "game=openspiel", f"game.name='{GAMES[game]}'", *SOLVERS[name]])
    )
    curve, start = [], time.perf_counter()
    for progress in parts.solver.solve(parts.profile, parts.responder):
        curve.append((time.perf_counter() - start, progress.metrics["nash_conv"]))
        if curve[-1][1] <= GOALS[-1] or curve[-1][0] > seconds:
            return curve
    raise AssertionError("solvers never end")


def run_openspiel(name: str, game: str, limit: float) -> Curve:
    """Runs a solver of OpenSpiel until the last goal, or for `limit` seconds; returns its curve."""
    return run_peer("openspiel", "openspiel_equilibrium.py", name, GAMES[game], limit, GOALS[-1])["curve"]


def seconds_to_goal(curve: Curve, goal: float) -> float | None:
    """Returns the seconds to a goal; None if it was not reached."""
    return next((seconds for seconds, distance in curve if distance <= goal), None)


def thin_out(curve: Curve) -> Curve:
    """Returns about a hundred points of a curve, with those at which goals are reached.

    The times of the others are at least 6 % apart.
    """
    points: Curve = []
    edges = [next((place for place, (_, distance) in enumerate(curve) if distance <= goal), -1) for goal in GOALS]
    for place, point in enumerate(curve):
        if place in edges or not points or point[0] > 1.06 * points[-1][0]:
            points.append(point)
    return [(float(f"{seconds:.4g}"), float(f"{distance:.4g}")) for seconds, distance in [*points, curve[-1]]]


def measure_game(
    game: str, solvers: list[str], peers: list[str], seconds: float, limit: float
) -> dict[str, dict[str, Curve]]:
    """Returns the curves of one game by program and solver."""
    for name in solvers:  # loads compiled code
        run_solver(name, "kuhn_poker", 0.0)
    OpenSpiel(GAMES[game])
    return {
        ENGINE: {name: thin_out(run_solver(name, game, seconds)) for name in solvers},
        OPENSPIEL: {name: thin_out(run_openspiel(name, game, limit)) for name in peers},
    }


def find_fastest(curves: dict[str, Curve], goal: float) -> tuple[float, str] | None:
    """Returns the fewest seconds to a goal, and the name of the solver; None if no solver reached it."""
    times = [(seconds, name) for name, curve in curves.items() if (seconds := seconds_to_goal(curve, goal)) is not None]
    return min(times) if times else None


def compare(record: Record) -> list[Row]:
    """Compares the fastest solvers of both programs, for all goals that marl_engine reached.

    If the peer did not reach a goal, its time limit is used instead.
    """
    rows = []
    for game, curves in record.items():
        for goal in GOALS:
            fastest, peer_fastest = find_fastest(curves[ENGINE], goal), find_fastest(curves[OPENSPIEL], goal)
            if fastest is None:
                continue
            limit = max(curve[-1][0] for curve in curves[OPENSPIEL].values())
            (seconds, name), (peer_seconds, peer_name) = fastest, peer_fastest or (limit, "")
            note = f"{name} against {peer_name}" if peer_name else f"{name}; the peer did not reach it: a lower bound"
            case, numbers = f"{game} to {format_goal(goal)}", (seconds * 1e3, peer_seconds * 1e3)
            rows.append(Row(case, "OpenSpiel C++", peer_seconds / seconds, *numbers, "ms", note))
    return rows


def draw(record: Record) -> None:
    """Draws NashConv against seconds, with one panel for each game, two in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import colormaps, pyplot

    rows = (len(record) + 1) // 2
    figure, panels = pyplot.subplots(
        rows, 2, figsize=(10.5, 4 * rows), layout="constrained", sharey=True, squeeze=False
    )
    colours = {name: colormaps["tab20"](number) for number, name in enumerate(SOLVERS)}
    for axes, (game, curves) in zip(panels.flat, record.items(), strict=False):
        for name, curve in curves[ENGINE].items():
            axes.plot(*zip(*curve, strict=True), color=colours[name], label=name, linewidth=1.4)
        for (name, curve), style in zip(curves[OPENSPIEL].items(), ("--", ":"), strict=False):
            axes.plot(*zip(*curve, strict=True), style, color="black", label=f"OpenSpiel C++ {name}")
        axes.set(xscale="log", yscale="log", ylim=(5e-5, 10), title=game, xlabel="seconds", ylabel="NashConv")
        axes.grid(alpha=0.3)
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside right center", fontsize="small", frameon=False
    )
    figure.savefig(PICTURE, dpi=110)


def format_goal(goal: float) -> str:
    """Formats a goal, as in 1e-3."""
    return f"{goal:.0e}".replace("e-0", "e-")


def write_table(record: Record) -> None:
    """Writes the table into docs/equilibria.md, between its markers."""
    heads = [f"{game} {goal}" for game in record for goal in map(format_goal, GOALS)]
    lines = [f"| seconds to | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    names = [(ENGINE, name) for name in SOLVERS] + [(OPENSPIEL, name) for name in PEERS]
    for program, name in names:
        times = [seconds_to_goal(curves[program].get(name, []), goal) for curves in record.values() for goal in GOALS]
        cells = ["–" if seconds is None else f"{seconds:.2g}" for seconds in times]
        lines.append(f"| {'OpenSpiel C++ ' if program == OPENSPIEL else ''}{name} | {' | '.join(cells)} |")
    head, tail = PAGE.read_text().split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + tail.split(END, 1)[1])


def main() -> None:
    """Runs the comparisons, redraws picture and table, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of a solver (default 10)")
    parser.add_argument("--limit", type=float, default=60.0, help="time limit of a peer's solver (default 60)")
    parser.add_argument("--draw", action="store_true", help="only redraw the picture and the table")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if not options.draw:
        require_peers(["openspiel"])
        for game in options.games:
            result = measure_game(game, options.solvers, options.peers, options.seconds, options.limit)
            old = record.get(game, {})
            record[game] = {program: old.get(program, {}) | curves for program, curves in result.items()}
        RECORD.write_text(json.dumps(record) + "\n")
    draw(record)
    write_table(record)
    rows = compare(record)
    print_table("The fastest solver to a distance from equilibrium", "peer", rows)
    print(format_json("time_to_equilibrium", rows))


if __name__ == "__main__":
    main()
