"""Tables and the picture of `zero_shot_coordination`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from marl_engine.evaluation.coordination import bootstrap_interval, response_proximity

DOCS = Path(__file__).parent.parent / "docs"
RECORD, PICTURE = DOCS / "zero_shot_coordination.json", DOCS / "zero_shot_coordination.png"
PAGE = DOCS / "populations.md"
BEGIN, END = "<!-- written by benchmarks/zero_shot_coordination.py -->\n", "<!-- until here -->\n"
ZSC_EVAL = {  # medians of BR-Prox: self-play, FCP with pools of 12 and 36
    "overcooked/coordination_ring": (".33", ".77 to .86"),
    "overcooked/counter_circuit": (".18", ".55 to .78"),
    "overcooked/forced_coordination": (".73", ".83"),
}
GROUPS = ("trained", "half trained", "other solver", "cooks", "all")
PLAYERS = {"self_play": "self-play", "fcp": "fcp"}


class Estimate(NamedTuple):
    """A mean over seeds, with its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def estimate(numbers: list[float]) -> Estimate:
    """Returns the mean of numbers of seeds with its interval of 95 %."""
    return Estimate(float(np.mean(numbers)), *bootstrap_interval(numbers))


def summarise(result: dict[str, Any]) -> dict[str, Estimate]:
    """Returns the measures of a game: mean returns by player and group of partners, and proximities (medians)."""
    partners, best, own = result["partners"], np.array(result["best"]), np.array(result["own"])
    numbers: dict[str, list[float]] = {}
    for seed, rows in result["rows"].items():
        met = np.array([each["seed"] != int(seed) for each in partners])
        final = np.array([each["group"] == "trained" for each in partners])
        numbers.setdefault("self_play/self", []).append(own[~met & final].mean())
        answered = np.array([each is not None for each in result["responses"]])
        for player in PLAYERS:
            returns = np.array(rows[player], float)
            for group in GROUPS:
                here = met & [group in ("all", each["group"]) for each in partners]
                if here.any():
                    numbers.setdefault(f"{player}/{group}", []).append(returns[here].mean())
            near = response_proximity(returns, best)[met & answered if answered.any() else met]
            numbers.setdefault(f"{player}/proximity", []).append(float(np.nanmedian(near)))
    return {name: estimate(each) for name, each in numbers.items()}


def make_table(name: str, result: dict[str, Any]) -> Table:
    """Returns a table of the measures of a game, with intervals."""
    costs = result["costs"]
    steps, seconds = (np.mean([each[key] for each in costs]) for key in ("steps", "cpu_seconds"))
    table = Table("measure", "mean", "95 % interval over seeds")
    table.title = f"{name}: {len(costs)} seeds, {steps:,.0f} steps and {seconds:.0f} CPU-s each"
    for key, (mean, low, high) in summarise(result).items():
        table.add_row(key, f"{mean:.3g}", f"{low:.3g} to {high:.3g}")
    return table


def write_table(record: dict[str, dict[str, Any]]) -> None:
    """Writes the measures of all games into the table in docs/populations.md."""
    lines = [
        "| layout | player | with itself | trained pairs | half trained | other solver | cooks | all of them | BR-Prox "
        "| ZSC-Eval's | steps | CPU-s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in record.items():
        summary, costs = summarise(result), result["costs"]
        steps, seconds = (np.mean([each[key] for each in costs]) for key in ("steps", "cpu_seconds"))
        for place, (player, title) in enumerate(PLAYERS.items()):
            cells = [name.removeprefix("overcooked/").replace("overcooked", "cramped_room"), title]
            means = [summary.get(f"{player}/{group}") for group in ("self", *GROUPS[:-1])]
            cells += ["" if mean is None else f"{mean.mean:.0f}" for mean in means]
            cells += [str(summary[f"{player}/all"]), str(summary[f"{player}/proximity"])]
            cells += [ZSC_EVAL[name][place] if name in ZSC_EVAL else "-"]
            cells += ["", ""] if player == "self_play" else [f"{steps / 1e6:.1f} M", f"{seconds:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    head, tail = PAGE.read_text().split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + tail.split(END)[1])


def draw(record: dict[str, dict[str, Any]]) -> None:
    """Draws the mean returns of both players with each group of partners, with one panel for each game."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (3.4 * len(record), 3.2)
    figure, panels = pyplot.subplots(1, len(record), figsize=size, layout="constrained", squeeze=False)
    for (name, result), axes in zip(record.items(), panels[0], strict=True):
        summary = summarise(result)
        groups = [group for group in GROUPS if f"fcp/{group}" in summary]
        for shift, (player, title) in zip((-0.2, 0.2), PLAYERS.items(), strict=True):
            points = [summary[f"{player}/{group}"] for group in groups]
            heights = [point.mean for point in points]
            errors = np.array([[point.mean - point.low, point.high - point.mean] for point in points]).T
            axes.bar(np.arange(len(groups)) + shift, heights, 0.4, yerr=errors, capsize=2, label=title)
        axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right")
        axes.set(title=name.removeprefix("overcooked/").replace("overcooked", "cramped_room"))
        axes.grid(axis="y", alpha=0.3)
    panels[0][0].set_ylabel("mean return with strangers")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(PICTURE, dpi=120)
