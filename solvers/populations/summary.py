"""What is written about a population at the end of a run: population.json, and a line for each seat on the screen."""

import json

import numpy as np

from marl_engine.evaluation.report import Artefact
from marl_engine.populations.uncertainty import CONFIDENCE, Interval
from solvers.populations.meta_game import MetaGame

FILE = "population.json"
DIGITS = 6


def summarise(meta_game: MetaGame) -> list[Artefact]:
    """Returns the artefact with payoffs, games, standard errors, and the meta-equilibrium with its intervals."""
    uncertainty, payoffs = meta_game.uncertainty, meta_game.population.payoffs
    if uncertainty is None:
        return []
    sampled = meta_game.games is not None
    table = {
        "members": list(meta_game.population.sizes),
        "meta_solver": meta_game.name,
        "symmetric": payoffs.symmetric,
        "confidence": CONFIDENCE if sampled else None,
        "value": write_interval(uncertainty.value),
        "weights": [write_interval(each) for each in uncertainty.weights],
        "payoff": round_numbers(payoffs.mean),
        "standard_error": round_numbers(payoffs.error()) if sampled else None,
        "games": payoffs.games.astype(int).tolist() if sampled else None,
    }
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in table.items())
    return [Artefact(FILE, "table", f"{{\n{rows}\n}}\n", lines_of(meta_game))]


def lines_of(meta_game: MetaGame) -> list[str]:
    """Returns a line for each seat: the size of its population, its mixture and what it earns."""
    assert meta_game.uncertainty is not None
    value, lines = meta_game.uncertainty.value, []
    for seat, (size, mixture) in enumerate(zip(meta_game.population.sizes, meta_game.mixtures, strict=True)):
        earns = f"{value.estimate[seat]:.4g}"
        if meta_game.games is not None:
            earns += f" ({CONFIDENCE:.0%} interval {value.low[seat]:.4g} to {value.high[seat]:.4g})"
        played = f"{(mixture > 1e-6).sum()} of {size} members"
        lines.append(f"player {seat} mixes {played}; among members it earns {earns}")
    return lines


def write_interval(interval: Interval) -> dict[str, list[float]]:
    """Returns estimate and ends of an interval as lists."""
    return {name: round_numbers(each) for name, each in interval._asdict().items()}


def round_numbers(numbers: np.ndarray) -> list[float]:
    """Returns numbers as nested lists, rounded."""
    rounded: list[float] = np.round(numbers, DIGITS).tolist()
    return rounded
