"""What a person sees while a run goes on: a bar with the numbers that matter, or plain lines in a file."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # of the sparkline
PLAIN_EVERY = 5.0  # seconds between lines where there is no terminal
SHOWN = ("evaluation/return/mean", "return/mean")  # the first one that there is


def sparkline(values: list[float], width: int = WIDTH) -> str:
    """The last values as blocks; longer histories are thinned out evenly."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """As 1:05 or 1:00:00."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Left(ProgressColumn):
    """The time left, at the pace of this session."""

    def render(self, task: Task) -> Text:
        share = task.completed - task.fields["began"]
        if not share or task.total is None:
            return Text("-:-- left")
        return Text(f"{duration((task.total - task.completed) * (task.elapsed or 0) / share)} left")


class Display:
    """A progress display for a run of `total` steps, iterations or seconds; None when it has no end."""

    def __init__(self, console: Console, unit: str, total: float | None, began: float):
        self.console, self.unit, self.total = console, unit, total
        self.history: list[float] = []
        self.last_line = 0.0
        self.live = Progress(
            TextColumn("iteration {task.fields[iteration]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[steps]} steps"),
            TextColumn("{task.fields[pace]}/s"),
            TextColumn("return [bold]{task.fields[score]}[/] [cyan]{task.fields[trend]}[/]"),
            Left(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        blank: dict[str, Any] = {"iteration": "0", "steps": "0", "pace": "-", "score": "-", "trend": ""}
        self.task = self.live.add_task("", total=total, completed=int(began), began=began, **blank)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, record: Mapping[str, float]) -> None:
        """The newest record."""
        for name in SHOWN:
            if name in record:
                self.history.append(record[name])
                break
        numbers: dict[str, Any] = {
            "iteration": f"{record['iteration']:,}",
            "steps": f"{record['steps']:,}",
            "pace": f"{record['steps_per_second']:,.0f}",
            "score": f"{self.history[-1]:.1f}" if self.history else "-",
            "trend": sparkline(self.history),
        }
        if self.console.is_terminal:
            self.live.update(self.task, completed=record[self.unit], **numbers)
        elif perf_counter() - self.last_line > PLAIN_EVERY:
            self.last_line = perf_counter()
            self.console.print(
                "iteration {iteration}  {steps} steps  {pace}/s  return {score} {trend}".format(**numbers),
                highlight=False,
                soft_wrap=True,
            )
