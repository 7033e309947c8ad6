"""What runs measured, made comparable: a metric that all have, seeds put together, and each curve under a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_engine.commands.curve_labels import labels, leaves, named
from marl_engine.errors import Refused, choice
from marl_engine.types import UNITS

MEASURES = {  # the first that every run has is drawn
    "nash_conv": "NashConv",
    "nash_conv/average": "NashConv of the average strategy",
    "nash_conv/last": "NashConv of the current strategy",
    "gap": "duality gap",
    "evaluation/nash_conv": "NashConv, evaluated",
    "return/mean": "return of an episode",
    "evaluation/return/mean": "return of an episode, evaluated",
}
DISTANCES = {"nash_conv", "exploitability", "gap"}  # on logarithmic axes
AXES = {"iteration": "iterations", "seconds": "seconds", **{unit: unit for unit in UNITS}}


class Run(NamedTuple):
    """What a run left."""

    path: Path
    config: dict[str, Any]
    records: list[dict[str, float]]


class Curve(NamedTuple):
    """The median of runs that differ in seed, and their range; of one run, that run. All arrays (n,)."""

    label: str
    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def measure(runs: Sequence[Run], asked: str | None) -> str:
    """The metric that is drawn: the one asked for, or the first of `MEASURES` that all runs have. Raises Refused."""
    has = [{name for record in run.records for name in record} for run in runs]
    common = set.intersection(*has) - {*AXES, *(f"{unit}_per_second" for unit in UNITS)}
    name = asked if asked is not None else next((name for name in MEASURES if name in common), None)
    others = f"choose y= from {choice(name or '', common)}" if common else "plot fewer of them"
    if name is None:
        raise Refused(f"no distance from equilibrium and no return was measured by all of these runs; {others}")
    for run, names in zip(runs, has, strict=True):
        if name not in names:
            raise Refused(f"{run.path} has no y={name}; {others}")
    return name


def compared(runs: Sequence[Run], x: str, y: str) -> list[Curve]:
    """A curve for each run, or for several that differ in nothing but seed. Raises Refused."""
    groups = grouped(runs)
    called = labels([group[0].config for group in groups]) or folders(groups)
    counts = [f" ({len(group)} seeds)" if len(group) > 1 else "" for group in groups]
    return [
        Curve(label + count, *joined(group, x, y)) for group, label, count in zip(groups, called, counts, strict=True)
    ]


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in nothing but seed, together; those that do not even differ in seed, each by itself."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(leaves(run.config).items())), []).append(run)
    found: list[list[Run]] = []
    for group in groups.values():
        seeds = {run.config.get("seed") for run in group}
        found += [group] if len(seeds) == len(group) else [[run] for run in group]
    return found


def folders(groups: Sequence[Sequence[Run]]) -> list[str]:
    """The folders' names as labels, with what is above them where names are the same; of several, the first."""
    names = [group[0].path.resolve().name for group in groups]
    return names if len(set(names)) == len(names) else [str(group[0].path) for group in groups]


def joined(group: Sequence[Run], x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Medians of x and of y, and the lowest and highest y, (n,) each, over the iterations that all runs measured.

    Raises Refused where there are none.
    """
    points = []
    for run in group:
        key = counter(run, x)
        having = [record for record in run.records if y in record and key in record]
        points.append({record["iteration"]: (record[key], record[y]) for record in having})
    common = sorted(set.intersection(*map(set, points)))
    if not common:
        raise Refused(f"{' and '.join(str(run.path) for run in group)} measured {y} at no iteration alike; plot one")
    found = np.array([[each[iteration] for iteration in common] for each in points], float)  # (runs, n, 2)
    middle, values = np.median(found, axis=0), found[..., 1]
    return middle[:, 0], middle[:, 1], values.min(0), values.max(0)


def counter(run: Run, x: str) -> str:
    """The metric that counts x in the records of a run. Raises Refused for a run that does not count it."""
    counts = {name for record in run.records for name in record} & set(AXES)
    if x in counts:
        return x
    raise Refused(f"{run.path} counts no {x}; choose x= from {choice(x, counts)}")


def shared(runs: Sequence[Run]) -> str:
    """A title: the game and the solver, as far as they are the same in all runs."""
    configs = [run.config for run in runs]
    names = (set(named(group, configs)) for group in ("game", "solver"))
    return " · ".join(name for each in names if len(each) == 1 for name in each if name)


def is_distance(y: str) -> bool:
    """Whether a metric is a distance from equilibrium."""
    return not DISTANCES.isdisjoint(y.split("/"))
