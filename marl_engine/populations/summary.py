"""What is written about a population at the end of a run: population.json, and a line for each seat on the screen."""

import json

import numpy as np

from marl_engine.evaluation.report import Artefact
from marl_engine.populations.population import Population
from marl_engine.populations.uncertainty import CONFIDENCE, Interval, Uncertainty

FILE = "population.json"
DIGITS = 6
LEAST = 1e-6  # smallest probability of a member that counts


def summarise(population: Population, uncertainty: Uncertainty, meta_solver: str, sampled: bool) -> list[Artefact]:
    """Returns the artefact with payoffs, games, standard errors, and the meta-equilibrium with its intervals.

    `sampled` tells whether payoffs were played, so that intervals have a width.
    """
    payoffs = population.payoffs
    table = {
        "members": list(population.sizes),
        "meta_solver": meta_solver,
        "symmetric": payoffs.symmetric,
        "confidence": CONFIDENCE if sampled else None,
        "value": write_interval(uncertainty.value),
        "weights": [write_interval(each) for each in uncertainty.weights],
        "payoff": round_numbers(payoffs.mean),
        "standard_error": round_numbers(payoffs.error()) if sampled else None,
        "games": payoffs.games.astype(int).tolist() if sampled else None,
    }
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in table.items())
    return [Artefact(FILE, "table", f"{{\n{rows}\n}}\n", lines_of(uncertainty, sampled))]


def lines_of(uncertainty: Uncertainty, sampled: bool) -> list[str]:
    """Returns a line for each seat: how many members it has, how many it mixes, and what it earns."""
    value, lines = uncertainty.value, []
    for seat, weights in enumerate(uncertainty.weights):
        earns = f"{value.estimate[seat]:.4g}"
        if sampled:
            earns += f" ({CONFIDENCE:.0%} interval {value.low[seat]:.4g} to {value.high[seat]:.4g})"
        played = f"{(weights.estimate > LEAST).sum()} of {len(weights.estimate)} members"
        lines.append(f"player {seat} mixes {played}; among members it earns {earns}")
    return lines


def write_interval(interval: Interval) -> dict[str, list[float]]:
    """Returns estimate and ends of an interval as lists."""
    return {name: round_numbers(each) for name, each in interval._asdict().items()}


def round_numbers(numbers: np.ndarray) -> list[float]:
    """Returns numbers as nested lists, rounded."""
    rounded: list[float] = np.round(numbers, DIGITS).tolist()
    return rounded
