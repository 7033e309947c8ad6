"""Prepares the metrics of runs for plotting: a common metric, seeds merged, and a label for each curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_engine.commands.curves.labels import flatten_config, labels, section_names
from marl_engine.errors import Refused, choice
from marl_engine.types import UNITS

MEASURES = {  # the first that all runs have is the default
    "nash_conv": "NashConv",
    "nash_conv/average": "NashConv of the average strategy",
    "nash_conv/last": "NashConv of the current strategy",
    "gap": "duality gap",
    "evaluation/nash_conv": "NashConv, evaluated",
    "return/mean": "return of an episode",
    "evaluation/return/mean": "return of an episode, evaluated",
}
LOGARITHMIC = {"nash_conv", "exploitability", "gap"}  # distances, which are drawn on logarithmic axes
AXES = {"iteration": "iterations", "seconds": "seconds", **{unit: unit for unit in UNITS}}


class RunRecords(NamedTuple):
    """The configuration and records of a run."""

    path: Path
    config: dict[str, Any]
    records: list[dict[str, float]]


class Curve(NamedTuple):
    """The median and range of runs that differ only in their seed. All arrays are (n,)."""

    label: str
    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def choose_metric(runs: Sequence[RunRecords], requested: str | None) -> str:
    """Returns the given metric, or the first of `MEASURES` that all runs have. Raises Refused."""
    names_of_runs = [{name for record in run.records for name in record} for run in runs]
    common = set.intersection(*names_of_runs) - {*AXES, *(f"{unit}_per_second" for unit in UNITS)}
    name = requested if requested is not None else next((name for name in MEASURES if name in common), None)
    advice = f"choose y= from {choice(name or '', common)}" if common else "plot fewer of them"
    if name is None:
        raise Refused(f"no distance from equilibrium and no return was measured by all of these runs; {advice}")
    for run, names in zip(runs, names_of_runs, strict=True):
        if name not in names:
            raise Refused(f"{run.path} has no y={name}; {advice}")
    return name


def default_axis(runs: Sequence[RunRecords], y: str) -> str:
    """Returns the x axis for a metric: steps for returns if all runs count them, otherwise iteration."""
    by_steps = "return" in y.split("/") and all("steps" in run.records[-1] for run in runs)
    return "steps" if by_steps else "iteration"


def build_curves(runs: Sequence[RunRecords], x: str, y: str) -> list[Curve]:
    """Returns a curve for each group of runs that differ only in their seed. Raises Refused."""
    groups = group_by_seed(runs)
    names = labels([group[0].config for group in groups]) or folder_labels(groups)
    counts = [f" ({len(group)} seeds)" if len(group) > 1 else "" for group in groups]
    return [
        Curve(label + count, *merge_runs(group, x, y))
        for group, label, count in zip(groups, names, counts, strict=True)
    ]


def group_by_seed(runs: Sequence[RunRecords]) -> list[list[RunRecords]]:
    """Groups runs that differ only in their seed; runs with equal seeds are not merged."""
    groups: dict[str, list[RunRecords]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(flatten_config(run.config).items())), []).append(run)
    result: list[list[RunRecords]] = []
    for group in groups.values():
        seeds = {run.config.get("seed") for run in group}
        result += [group] if len(seeds) == len(group) else [[run] for run in group]
    return result


def folder_labels(groups: Sequence[Sequence[RunRecords]]) -> list[str]:
    """Returns folder names as labels, or paths if names are not unique; for a group, those of its first run."""
    names = [group[0].path.resolve().name for group in groups]
    return names if len(set(names)) == len(names) else [str(group[0].path) for group in groups]


def merge_runs(group: Sequence[RunRecords], x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns medians of x and y, and the lowest and highest y, (n,) each, at the iterations that all runs have.

    Raises Refused if there are none.
    """
    points = []
    for run in group:
        key = choose_counter(run, x)
        records = [record for record in run.records if y in record and key in record]
        points.append({record["iteration"]: (record[key], record[y]) for record in records})
    common = sorted(set.intersection(*map(set, points)))
    if not common:
        raise Refused(f"{' and '.join(str(run.path) for run in group)} measured {y} at no iteration alike; plot one")
    values_of_runs = np.array([[each[iteration] for iteration in common] for each in points], float)  # (runs, n, 2)
    middle, values = np.median(values_of_runs, axis=0), values_of_runs[..., 1]
    return middle[:, 0], middle[:, 1], values.min(0), values.max(0)


def choose_counter(run: RunRecords, x: str) -> str:
    """Returns the name of a counter if a run has recorded it. Raises Refused."""
    counts = {name for record in run.records for name in record} & set(AXES)
    if x in counts:
        return x
    raise Refused(f"{run.path} counts no {x}; choose x= from {choice(x, counts)}")


def common_title(runs: Sequence[RunRecords]) -> str:
    """Returns a title from the game and the solver, as far as they are the same for all runs."""
    configs = [run.config for run in runs]
    names = (set(section_names(group, configs)) for group in ("game", "solver"))
    return " · ".join(name for each in names if len(each) == 1 for name in each if name)


def is_distance(y: str) -> bool:
    """Whether a metric is a distance from equilibrium."""
    return not LOGARITHMIC.isdisjoint(y.split("/"))
