"""The responder of games in sequence form: it knows every payoff, and plays nothing.

In every information set the regularised step has a closed form, with q the values of the actions there:

    pi ~ exp[(q + magnet_weight * log magnet + log anchor / step_size) / (magnet_weight + 1 / step_size)]

It is magnetic mirror descent (Sokota et al. 2023, arXiv:2206.05825, section 3), and in a matrix game the step of
Nash-MD, Mirror-Prox and their relatives. Held to nothing, a seat plays a best response.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marl_engine.extensive_form.regularised import greedy_strategy, regularised_strategy
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    backup_action_values,
    backup_best_values,
    compute_gradient,
    counterfactual_reach,
    realization_plan,
)
from marl_engine.policies.tabular import TablePolicy, TabularSpec, fill_tables, stack_tables
from marl_engine.responders.regulariser import kl_terms
from marl_engine.types import Game, Metrics, Profile, Responder


@dataclass
class ExactResponder:
    """Raises ValueError for a game that is not in sequence form."""

    game: Game
    network: Any = None  # the maker of the policies
    seed: int = 0
    device: str = "cpu"
    form: SequenceForm = field(init=False)
    steps: int = field(init=False, default=0)  # queries: how often payoffs of or against a profile were asked for
    regularises: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if not hasattr(self.game, "form"):
            raise ValueError(
                f"responder=exact needs a game in sequence form, and {type(self.game).__name__} is none; "
                "use responder=ippo"
            )
        self.form = self.game.form
        if not isinstance(self.network, TabularSpec | None):
            raise ValueError("responder=exact moves tables; use policy=table")

    def respond(
        self,
        profile: Profile,
        against: Profile | None = None,
        *,
        anchor: Profile | None = None,
        step_size: float = math.inf,
        magnet: Profile | None = None,
        magnet_weight: float = 0.0,
    ) -> Metrics:
        """See `Responder`; all seats move at once."""
        own = stack_tables(profile)
        plan = realization_plan(self.form, stack_tables(against or profile))
        value = np.empty_like(plan)
        compute_gradient(self.form, plan, value)
        self.steps += 1
        held = [(weight, stack_tables(other)) for other, weight in kl_terms(magnet, magnet_weight, anchor, step_size)]
        if held:
            backup_action_values(self.form, own, value)
            reach = counterfactual_reach(self.form, own, plan)
            value = np.divide(value, reach, out=np.zeros_like(value), where=reach > 0)
            fill_tables(profile, regularised_strategy(self.form, value, held))
        else:
            backup_best_values(self.form, value)
            fill_tables(profile, greedy_strategy(self.form, value))
        return {}

    def state(self, profile: Profile) -> dict[str, Any]:
        """For a checkpoint."""
        return {"steps": self.steps}

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.steps = state["steps"]


def require_exact(responder: Responder, profile: Profile, asks: str) -> ExactResponder:
    """The responder, if it is this one. Raises ValueError when it is not, or policies are no tables."""
    if not isinstance(responder, ExactResponder) or not all(isinstance(policy, TablePolicy) for policy in profile):
        raise ValueError(f"{asks} and its relatives solve games exactly: use responder=exact policy=table")
    return responder
