"""What a person sees while a run goes on: a bar with the numbers that matter, or plain lines in a file."""

from collections.abc import Mapping
from math import inf, isfinite
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from marl_engine.evaluation.report import View
from marl_engine.types import main_unit

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # of the sparkline
SAMPLE_EVERY = 20.0  # seconds between things said
PLAIN_EVERY = 5.0  # seconds between lines where there is no terminal


def new_console() -> Console:
    """A console that prints text as it stands: none is taken for markup or a picture, coloured, or broken.

    Whatever comes from files, games, judges and users is printed on one of these.
    """
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def sparkline(values: list[float], width: int = WIDTH) -> str:
    """The last values as blocks; longer histories are thinned out evenly."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in values)


def one_line(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def duration(seconds: float) -> str:
    """As 1:05 or 1:00:00."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Display:
    """A progress display for a run; `limits` says where it begins and where it ends, in units of the record.

    Whichever limit is the nearest is shown; without any there is no bar to fill.
    """

    def __init__(self, console: Console, limits: Mapping[str, tuple[float, float]], view: View):
        self.console, self.limits, self.view = console, limits, view
        self.history: dict[tuple[str, str], list[float]] = {}
        self.began = self.last_line = perf_counter()
        self.live = Progress(
            TextColumn("iteration {task.fields[iteration]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[work]}"),
            TextColumn("{task.fields[pace]}/s"),
            TextColumn("[bold]{task.fields[score]}[/] [cyan]{task.fields[trend]}[/]"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        blank: dict[str, Any] = {"iteration": "0", "work": "", "pace": "-", "score": "-", "trend": "", "left": "-:--"}
        self.task = self.live.add_task("", total=1.0 if limits else None, **blank)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, record: Mapping[str, float], sample: str = "") -> None:
        """The newest record, and something that was said, if the game is one of words."""
        score, trend = self.scored(record)
        beside = [text.format(record[name]) for name, text in self.view.secondary.items() if name in record]
        unit = main_unit(record)
        done, left = ahead(record, self.limits, perf_counter() - self.began)
        numbers: dict[str, Any] = {
            "iteration": f"{record['iteration']:,}",
            "work": f"{record[unit]:,} {unit}" if unit != "iteration" else "",
            "pace": f"{record.get(f'{unit}_per_second', 0):,.0f}",
            "score": "  ".join([score, *beside]),
            "trend": "" if self.console.options.ascii_only else trend,
            "left": duration(left) if isfinite(left) else "-:--",
        }
        if self.console.is_terminal:
            self.live.update(self.task, completed=done, **numbers)
            if sample and perf_counter() - self.last_line > SAMPLE_EVERY:
                self.last_line = perf_counter()
                self.console.print(one_line(sample), style="dim", soft_wrap=False)
        elif perf_counter() - self.last_line > PLAIN_EVERY:
            self.last_line = perf_counter()
            self.console.print(
                "iteration {iteration}  {work}  {pace}/s  {score} {trend}  {left} left".format(**numbers)
            )
            if sample:
                self.console.print(f"  {one_line(sample)}")

    def scored(self, record: Mapping[str, float]) -> tuple[str, str]:
        """The number that matters most of those measured so far, and how it went."""
        shown_names = self.view.primary
        name = next((name for name in shown_names if name in record), None)
        if name is not None:
            self.history.setdefault(shown_names[name], []).append(record[name])
        shown = next((each for each in shown_names.values() if each in self.history), None)
        if shown is None:
            return "-", ""
        (label, digits), values = shown, self.history[shown]
        return f"{label} {values[-1]:{digits}}", sparkline(values)


def ahead(
    record: Mapping[str, float], limits: Mapping[str, tuple[float, float]], elapsed: float
) -> tuple[float, float]:
    """The share that is done, and the seconds left at the pace of this session, by the limit that comes first."""
    done, left = 0.0, inf
    for unit, (began, end) in limits.items():
        here = record[main_unit(record) if unit == "steps" else unit]
        done = max(done, here / end)
        if here > began:
            left = min(left, max(end - here, 0) * elapsed / (here - began))
    return done, left
