"""marl-plot: plots a metric of several runs in one figure and prints its last and best values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marl_engine.commands.command_line.cli_config import to_dict
from marl_engine.commands.command_line.preset_files import load_config
from marl_engine.commands.curves.curves import (
    AXES,
    LOGARITHMIC,
    MEASURES,
    Curve,
    RunRecords,
    build_curves,
    choose_metric,
    common_title,
    default_axis,
    is_distance,
)
from marl_engine.commands.process import read_keys, run_command, show_help
from marl_engine.errors import Refused, choice
from marl_engine.runs.folder import RunFolder, nearby_runs

MINIMISED = LOGARITHMIC | {"loss", "kl"}  # metrics whose lowest value is the best
KINDS = (".png", ".pdf", ".svg")
# Okabe and Ito's colours, which suit colour blindness; then the same with other strokes
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
STROKES = ("-", "--", ":", "-.")
FEW = 4  # curves for which the legend fits into the axes
SPARSE = 25  # points of a curve below which they are marked
HELP = """\
marl-plot: plots a metric of several runs in one figure, and prints its last and best value for each curve.

Usage: marl-plot RUN ... [key=value ...], where RUN is the folder of a run, or a folder that contains runs.

  marl-plot runs/cfr runs/cfr_plus                 # the distance from equilibrium, or the return: plot.png
  marl-plot runs/leduc_* x=seconds out=leduc.pdf   # .png, .pdf or .svg
  marl-plot runs y=evaluation/return/mean title="Overcooked"

Keys
  y        any metric in metrics.jsonl that all runs have; the default is the first available of
           {measures}
  x        iteration, seconds, or a count of work: steps of games, queries, gradients or nodes of the tree
           (default: steps for returns if all runs count them, otherwise iteration)
  out      the file to write, which is replaced if it exists (default: plot.png)
  title    default: the game and the solver, if they are the same for all runs

Curves are labelled by the keys in which their configurations differ. Runs that differ only in their seed are one
curve: their median, with a band from the lowest to the highest.

Exit codes: 0 done, 2 refused (nothing is written), 128 + the number of a signal."""


@dataclass
class Figure:
    """The keys of the command."""

    x: str | None = None
    y: str | None = None
    out: str = "plot.png"
    title: str | None = None

    def __post_init__(self) -> None:
        if self.x is not None and self.x not in AXES:
            raise Refused(f"there is no x={self.x}; choose from {choice(self.x, AXES)}")
        path = Path(self.out)
        if path.suffix.lower() not in KINDS or path.is_dir():
            raise Refused(f"out must be the name of a picture that ends in {', '.join(KINDS)}, not {self.out!r}")
        if not path.parent.is_dir():
            raise Refused(f"cannot write to {path}: there is no folder {str(path.parent)!r}")


def main() -> None:
    """The command. Exit codes: 0 done, 2 refused, 128 + the number of a signal."""
    run_command(plot)


def plot(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    if show_help(arguments, HELP.format(measures=", ".join(MEASURES)), "folders of runs and key=value"):
        return 0
    keys = [argument for argument in arguments if "=" in argument and not Path(argument).exists()]
    figure = read_keys(keys, Figure)
    runs = [read_run(path) for path in find_runs([argument for argument in arguments if argument not in keys])]
    y = choose_metric(runs, figure.y)
    x = figure.x or default_axis(runs, y)
    curves = build_curves(runs, x, y)
    draw_curves(curves, x, y, common_title(runs) if figure.title is None else figure.title, figure.out)
    report(curves, x, y, figure.out)
    return 0


def find_runs(arguments: Sequence[str]) -> list[Path]:
    """Returns the given run folders and those below other given folders, without repetition. Raises Refused."""
    if not arguments:
        raise Refused(f"say which runs: their folders, or one that holds some{nearby_runs(Path('runs'))}")
    paths: dict[Path, Path] = {}
    for argument in map(Path, arguments):
        inside = [argument] if (argument / "config.yaml").is_file() else runs_in(argument)
        if not inside:
            raise Refused(f"there is no run at {str(argument)!r}{nearby_runs(argument)}")
        for path in inside:
            paths.setdefault(path.resolve(), path)
    return list(paths.values())


def runs_in(folder: Path) -> list[Path]:
    """Returns the runs below a folder; runs without metrics only if there are no others."""
    runs = sorted(file.parent for file in folder.rglob("config.yaml"))
    return [run for run in runs if (run / "metrics.jsonl").is_file()] or runs


def read_run(path: Path) -> RunRecords:
    """Reads the configuration and records of a run. Raises Refused if it has no records, or another layout."""
    folder, config = RunFolder(path), to_dict(load_config(path / "config.yaml"))
    folder.check_layout()
    try:
        records = folder.records()
    except (OSError, ValueError) as error:
        raise Refused(f"{path / 'metrics.jsonl'} cannot be read: {error}") from error
    if not records:
        raise Refused(f"{path} has measured nothing yet; leave it out, or plot again when its metrics.jsonl has a line")
    return RunRecords(path, config, records)


def draw_curves(curves: Sequence[Curve], x: str, y: str, title: str, out: str) -> None:
    """Saves the figure. Raises Refused if it cannot be written."""
    from marl_engine.view.plots import new_figure

    few = len(curves) <= FEW
    beside = 0 if few else 0.6 + 0.08 * max(len(curve.label) for curve in curves)  # inches for the legend
    figure = new_figure(7 + beside, 4)
    from matplotlib.ticker import EngFormatter

    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        stroke = STROKES[number // len(COLOURS) % len(STROKES)]
        marker = "." if len(curve.x) <= SPARSE else None
        axes.plot(curve.x, curve.middle, color=colour, linestyle=stroke, marker=marker, label=curve.label)
        if (curve.low < curve.high).any():
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
    if is_distance(y) and any((curve.middle > 0).any() for curve in curves):
        axes.set_xscale("log")
        axes.set_yscale("log")
    elif x != "seconds":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel=AXES[x], ylabel=MEASURES.get(y, y))
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    legend = axes.legend() if few else figure.legend(loc="outside right upper")
    for each in legend.get_texts():
        each.set_parse_math(False)
    try:
        figure.savefig(out, dpi=130)
    except OSError as error:
        raise Refused(f"cannot write to {out}: {error.strerror or error}") from error


def report(curves: Sequence[Curve], x: str, y: str, out: str) -> None:
    """The last and the best of each curve, and where the picture is."""
    from rich.table import Table
    from rich.text import Text

    from marl_engine.view.progress import new_console

    less = not MINIMISED.isdisjoint(y.split("/"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for name in (f"last {y}", "lowest" if less else "highest", f"at {x}"):
        table.add_column(name, justify="right", overflow="fold")
    for curve in curves:
        best = int(curve.middle.argmin() if less else curve.middle.argmax())
        numbers = f"{curve.middle[-1]:.6g}", f"{curve.middle[best]:.6g}", f"{curve.x[best]:,.10g}"
        table.add_row(Text(curve.label), *numbers)
    console = new_console()
    console.print(table, soft_wrap=False)
    console.print(f"picture {out}")
