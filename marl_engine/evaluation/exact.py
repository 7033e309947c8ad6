"""Exact evaluation of extensive games, without play."""

from collections.abc import Sequence

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.evaluation.exploitability import measure_exactly
from marl_engine.evaluation.report import DISTANCES, RETURNS, Report, View
from marl_engine.evaluation.scores import score_of
from marl_engine.evaluation.strategies import save_strategies
from marl_engine.extensive_form.sequence_form import SequenceForm, expected_payoffs, owners, realization_plan
from marl_engine.policies.strategy import extract_strategy
from marl_engine.types import Metrics, Profile


class ExactEvaluator:
    """Measures returns and NashConv; a full report also has the strategies."""

    view = View(
        panels=(DISTANCES, RETURNS),
        primary={
            "nash_conv": ("nash_conv", ".4g"),
            "evaluation/nash_conv": ("nash_conv", ".4g"),
            "return/mean": ("return", ".3g"),
        },
        secondary={},
    )

    def __init__(self, game: ExtensiveGame):
        self.game = game

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """See `Evaluator`."""
        metrics = measure_exactly(self.game, profile)
        artefacts = [save_strategies(self.game, profile, iteration)] if full else []
        return Report(metrics, score_of(metrics), headline(metrics), artefacts)

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """See `Evaluator`."""
        form = self.game.form
        plans = [realization_plan(form, extract_strategy(self.game, profile)) for profile in profiles]
        return [[(mean_payoff(form, row, column), 0.0) for column in plans] for row in plans]


def mean_payoff(form: SequenceForm, row: np.ndarray, column: np.ndarray) -> float:
    """Returns what a plan (S,) earns if another plan (S,) plays all other seats, as a mean over the seats."""
    owner, seats = owners(form), range(form.players)
    return sum(float(expected_payoffs(form, np.where(owner == seat, row, column))[seat]) for seat in seats) / len(seats)


def headline(metrics: Metrics) -> tuple[str, str]:
    """Returns NashConv, and exploitability and returns beside it."""
    seats = [name for name in metrics if name.removeprefix("return/").isdigit()]  # in order
    returns = ", ".join(f"{metrics[name]:.4f}" for name in seats)
    exploitability = f"(exploitability {metrics['exploitability']:.6f}), returns {returns}"
    return f"nash_conv {metrics['nash_conv']:.6f}", exploitability
