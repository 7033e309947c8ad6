"""Pictures of a population: the payoff table, and the mixture of members with its intervals."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marl_engine.view.plots import new_figure

SOURCE, PICTURE = "population.json", "population.png"
COLOUR = (0.0, 0.45, 0.7)


def save_population(folder: Path, title: str) -> None:
    """Draws the population of a run from population.json, and saves population.png. Does nothing if there is none."""
    if not (folder / SOURCE).is_file():
        return
    population = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    seats = len(population["members"])
    figure = new_figure(4.2 + 3.4 * seats, 4)
    axes = figure.subplots(1, 1 + seats, width_ratios=[4, *[3] * seats])
    draw_payoffs(figure, axes[0], np.array(population["payoff"][0]))
    for seat in range(seats):
        draw_mixture(axes[1 + seat], population["weights"][seat])
        axes[1 + seat].set_title(f"player {seat} earns {describe_value(population, seat)}", fontsize="medium")
    figure.suptitle(title, parse_math=False)
    figure.savefig(folder / PICTURE, dpi=130)


def draw_payoffs(figure: Any, axes: Any, payoff: np.ndarray) -> None:
    """Draws the payoffs (n_0, n_1, …) of the first seat as a heat map; those of further seats are averaged."""
    table = payoff.reshape(*payoff.shape[:2], -1).mean(-1)
    extent = float(np.abs(table).max()) or 1.0
    image = axes.imshow(table, cmap="RdBu", vmin=-extent, vmax=extent)
    axes.set(xlabel="member of player 1", ylabel="member of player 0", title="payoff to player 0")
    figure.colorbar(image, ax=axes, shrink=0.8)


def draw_mixture(axes: Any, weights: Mapping[str, list[float]]) -> None:
    """Draws the probabilities of a seat's members as bars, with the ends of their intervals."""
    low, high = np.array(weights["low"]), np.array(weights["high"])
    members = np.arange(len(low))
    axes.bar(members, weights["estimate"], color=COLOUR)
    if (high > low).any():
        axes.vlines(members, low, high, colors="black", linewidth=1)
    axes.set(xlabel="member", ylabel="probability in the meta-equilibrium", ylim=(0, 1))
    axes.grid(alpha=0.3, axis="y")


def describe_value(population: Mapping[str, Any], seat: int) -> str:
    """Returns what a seat earns in the meta-equilibrium, with its interval if payoffs were sampled."""
    value = {name: ends[seat] for name, ends in population["value"].items()}
    interval = f" ({value['low']:.3g} to {value['high']:.3g})" if population["confidence"] else ""
    return f"{value['estimate']:.3g}{interval}"
