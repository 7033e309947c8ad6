"""Progress of a run in the terminal: a bar with the main numbers, or plain lines if output goes to a file."""

from collections.abc import Mapping
from math import inf, isfinite, nan
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from marl_engine.evaluation.report import View
from marl_engine.types import main_unit

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # of the sparkline
LONGEST = 16 * WIDTH  # values that are kept of a metric
SAMPLE_EVERY = 20.0  # seconds between samples of text
PLAIN_EVERY = 5.0  # seconds between lines without a terminal
REDRAW_EVERY = 0.1  # seconds between updates in a terminal


def new_console() -> Console:
    """Returns a console that prints text without interpreting markup or emoji, colouring or wrapping it.

    All text from files, games, judges and users is printed by such a console.
    """
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def sparkline(values: list[float], width: int = WIDTH) -> str:
    """Returns the values as blocks; longer histories are thinned out evenly."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in values)


def one_line(text: str) -> str:
    """Returns a text without line breaks."""
    return " ".join(text.split())


def format_duration(seconds: float) -> str:
    """Formats seconds as 1:05 or 1:00:00."""
    total = int(seconds)
    hours, minutes = divmod(total // 60, 60)
    return f"{hours}:{minutes:02d}:{total % 60:02d}" if hours else f"{minutes}:{total % 60:02d}"


class History:
    """The values of a metric: all of them if they are few, otherwise evenly spaced ones, and always the last."""

    def __init__(self) -> None:
        self.spaced: list[float] = []
        self.stride = 1  # values from one of `spaced` to the next
        self.count = 0
        self.last = nan

    @property
    def values(self) -> list[float]:
        """At most `LONGEST` + 1 values."""
        return self.spaced if (self.count - 1) % self.stride == 0 else [*self.spaced, self.last]

    def add(self, value: float) -> None:
        """Adds a value."""
        if self.count % self.stride == 0:
            self.spaced.append(value)
        if len(self.spaced) > LONGEST:
            self.spaced, self.stride = self.spaced[::2], 2 * self.stride
        self.count, self.last = self.count + 1, value


class Display:
    """A progress display. `limits` are the begin and the end of the run, in units of its records.

    The bar shows the limit that will be reached first; without limits there is no bar.
    """

    def __init__(self, console: Console, limits: Mapping[str, tuple[float, float]], view: View):
        self.console, self.limits, self.view = console, limits, view
        self.history: dict[tuple[str, str], History] = {}
        self.began = self.last_line = perf_counter()
        self.last_update = -inf
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
        """Shows the newest record, and a sample of text, if there is one.

        A terminal redraws a few times a second; without one a line is printed every few seconds.
        """
        self.note_score(record)
        now = perf_counter()
        if self.console.is_terminal:
            if now - self.last_update > REDRAW_EVERY:
                self.last_update = now
                self.live.update(self.task, **self.describe(record))
            if sample and now - self.last_line > SAMPLE_EVERY:
                self.last_line = now
                self.console.print(one_line(sample), style="dim", soft_wrap=False)
        elif now - self.last_line > PLAIN_EVERY:
            self.last_line = now
            self.console.print(
                "iteration {iteration}  {work}  {pace}/s  {score} {trend}  {left} left".format(**self.describe(record))
            )
            if sample:
                self.console.print(f"  {one_line(sample)}")

    def describe(self, record: Mapping[str, float]) -> dict[str, Any]:
        """Returns the fields of the display: the share that is done, and texts."""
        score, trend = self.score_and_trend()
        secondary = [text.format(record[name]) for name, text in self.view.secondary.items() if name in record]
        unit = main_unit(record)
        done, left = estimate_progress(record, self.limits, perf_counter() - self.began)
        return {
            "completed": done,
            "iteration": f"{record['iteration']:,}",
            "work": f"{record[unit]:,} {unit}" if unit != "iteration" else "",
            "pace": f"{record.get(f'{unit}_per_second', 0):,.0f}",
            "score": "  ".join([score, *secondary]),
            "trend": "" if self.console.options.ascii_only else trend,
            "left": format_duration(left) if isfinite(left) else "-:--",
        }

    def note_score(self, record: Mapping[str, float]) -> None:
        """Adds the most important metric that a record has to the history."""
        name = next((name for name in self.view.primary if name in record), None)
        if name is not None:
            self.history.setdefault(self.view.primary[name], History()).add(record[name])

    def score_and_trend(self) -> tuple[str, str]:
        """Returns the most important metric measured so far, and its history as a sparkline."""
        label_and_format = next((each for each in self.view.primary.values() if each in self.history), None)
        if label_and_format is None:
            return "-", ""
        (label, digits), history = label_and_format, self.history[label_and_format]
        return f"{label} {history.last:{digits}}", sparkline(history.values)


def estimate_progress(
    record: Mapping[str, float], limits: Mapping[str, tuple[float, float]], elapsed: float
) -> tuple[float, float]:
    """Returns the share of the run that is done, and the seconds left, by the limit that comes first."""
    done, left = 0.0, inf
    for unit, (began, end) in limits.items():
        here = record[main_unit(record) if unit == "steps" else unit]
        done = max(done, here / end)
        if here > began:
            left = min(left, max(end - here, 0) * elapsed / (here - began))
    return done, left
