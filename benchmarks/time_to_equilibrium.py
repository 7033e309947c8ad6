"""Seconds until NashConv is 1e-2, 1e-3 and 1e-4, for every exact solver here and for OpenSpiel's C++ CFR and CFR+.

Solvers here are run as their presets are but for what SOLVERS says, through the generator that `marl-train` runs, and
what they measure of themselves is counted; what OpenSpiel's are measured with is not. Loading a game is counted for
neither. A solver that has not come to a goal in its time has no number for it. What is compared is the best solver of
each for a goal. The last line is JSON; a ratio above 1 means that this engine leads. Curves are kept in
docs/time_to_equilibrium.json, from which `--draw` redraws the picture and the table.
"""

import argparse
import json
import time
from pathlib import Path

from side_by_side import Row, ask, last_line, require, show

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
STRIDE = "solver.stride=20"  # the average is looked at after so many iterations
SOLVERS = {  # the preset's name, and what differs from it
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

Curve = list[tuple[float, float]]  # seconds and NashConv


def ours(name: str, game: str, seconds: float) -> Curve:
    """A solver's way to the last goal, or to the end of its time."""
    parts = build(
        compose_config("train", [f"solver={name}", "game=openspiel", f"game.name='{GAMES[game]}'", *SOLVERS[name]])
    )
    curve, start = [], time.perf_counter()
    for progress in parts.solver.solve(parts.profile, parts.responder):
        curve.append((time.perf_counter() - start, progress.metrics["nash_conv"]))
        if curve[-1][1] <= GOALS[-1] or curve[-1][0] > seconds:
            return curve
    raise AssertionError("solvers go on for ever")


def reached(curve: Curve, goal: float) -> float | None:
    """Seconds to a goal, or None."""
    return next((seconds for seconds, distance in curve if distance <= goal), None)


def thinned(curve: Curve) -> Curve:
    """A hundred or so of its points, those that stand apart in time and every one that is the first at a goal."""
    retained, edges = (
        [],
        [next((at for at, (_, distance) in enumerate(curve) if distance <= goal), -1) for goal in GOALS],
    )
    for at, point in enumerate(curve):
        if at in edges or not retained or point[0] > 1.06 * retained[-1][0]:
            retained.append(point)
    return [(float(f"{seconds:.4g}"), float(f"{distance:.4g}")) for seconds, distance in [*retained, curve[-1]]]


def measured(
    game: str, solvers: list[str], peers: list[str], seconds: float, limit: float
) -> dict[str, dict[str, Curve]]:
    """The curves of one game."""
    for name in solvers:  # loads what is compiled
        ours(name, "kuhn_poker", 0.0)
    OpenSpiel(GAMES[game])
    return {
        "ours": {name: thinned(ours(name, game, seconds)) for name in solvers},
        "OpenSpiel": {
            name: thinned(ask("openspiel", "openspiel_equilibrium.py", name, GAMES[game], limit, GOALS[-1])["curve"])
            for name in peers
        },
    }


def best(curves: dict[str, Curve], goal: float) -> tuple[float, str] | None:
    """The least seconds to a goal, and the solver that takes them."""
    times = [(seconds, name) for name, curve in curves.items() if (seconds := reached(curve, goal)) is not None]
    return min(times) if times else None


def compared(record: dict[str, dict[str, dict[str, Curve]]]) -> list[Row]:
    """The best against the best, wherever both got there; else against the time that the peer was given."""
    rows = []
    for game, curves in record.items():
        for goal in GOALS:
            mine, theirs = best(curves["ours"], goal), best(curves["OpenSpiel"], goal)
            if mine is None:
                continue
            settings = max(curve[-1][0] for curve in curves["OpenSpiel"].values())
            there, who = theirs or (settings, "none")
            note = f"{mine[1]} against {who}" if theirs else f"{mine[1]}; the peer did not get there, so at least"
            rows.append(
                Row(
                    f"{game} to {shortly(goal)}",
                    "OpenSpiel C++",
                    there / mine[0],
                    mine[0] * 1e3,
                    there * 1e3,
                    "ms",
                    note,
                )
            )
    return rows


def draw(record: dict[str, dict[str, dict[str, Curve]]]) -> None:
    """NashConv against seconds, a panel for each game, two in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import colormaps, pyplot

    rows = (len(record) + 1) // 2
    figure, panels = pyplot.subplots(
        rows, 2, figsize=(10.5, 4 * rows), layout="constrained", sharey=True, squeeze=False
    )
    colours = {name: colormaps["tab20"](at) for at, name in enumerate(SOLVERS)}
    for axes, (game, curves) in zip(panels.flat, record.items(), strict=False):
        for name, curve in curves["ours"].items():
            axes.plot(*zip(*curve, strict=True), color=colours[name], label=name, linewidth=1.4)
        for name, style in zip(curves["OpenSpiel"], ("--", ":"), strict=False):
            axes.plot(
                *zip(*curves["OpenSpiel"][name], strict=True), style, color="black", label=f"OpenSpiel C++ {name}"
            )
        axes.set(xscale="log", yscale="log", ylim=(5e-5, 10), title=game, xlabel="seconds", ylabel="NashConv")
        axes.grid(alpha=0.3)
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside right center", fontsize="small", frameon=False
    )
    figure.savefig(PICTURE, dpi=110)


def shortly(goal: float) -> str:
    """Like 1e-3."""
    return f"{goal:.0e}".replace("e-0", "e-")


def write_table(record: dict[str, dict[str, dict[str, Curve]]]) -> None:
    """Puts the table into the page, between its markers."""
    heads = [f"{game} {goal}" for game in record for goal in map(shortly, GOALS)]
    lines = [f"| seconds to | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    names = [("ours", name) for name in SOLVERS] + [("OpenSpiel", name) for name in PEERS]
    for whose, name in names:
        times = [reached(curves[whose].get(name, []), goal) for curves in record.values() for goal in GOALS]
        cells = ["–" if seconds is None else f"{seconds:.2g}" for seconds in times]
        lines.append(f"| {'OpenSpiel C++ ' if whose == 'OpenSpiel' else ''}{name} | {' | '.join(cells)} |")
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1])


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--seconds", type=float, default=10.0, help="that a solver is given here (default 10)")
    parser.add_argument("--limit", type=float, default=60.0, help="that one of OpenSpiel's is given (default 60)")
    parser.add_argument("--draw", action="store_true", help="only redraw the picture and the table")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if not options.draw:
        require(["openspiel"])
        for game in options.games:
            result = measured(game, options.solvers, options.peers, options.seconds, options.limit)
            record[game] = {whose: record.get(game, {}).get(whose, {}) | curves for whose, curves in result.items()}
        RECORD.write_text(json.dumps(record) + "\n")
    draw(record)
    write_table(record)
    rows = compared(record)
    show("The best solver to a distance from equilibrium", "peer", rows)
    print(last_line("time_to_equilibrium", rows))


if __name__ == "__main__":
    main()
