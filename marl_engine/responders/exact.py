"""The responder for games in sequence form: it computes payoffs exactly, without play.

In each information set the regularised step has a closed form. With q the values of its actions,

    pi ~ exp[(q + magnet_weight * log magnet + log anchor / step_size) / (magnet_weight + 1 / step_size)]

This is magnetic mirror descent (Sokota et al. 2023, arXiv:2206.05825, section 3); in a matrix game it is the step of
Nash-MD, Mirror-Prox and related solvers. In a tree, q is the value of an action given that its information set is
reached, with a `behavioral` divergence. With a `dilated` one it is not divided by the probability of that, and counts
the regularised values of the player's later information sets; see `extensive_form.regularised`. Without regularisation
a seat plays a best response.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.extensive_form.regularised import (
    BEHAVIORAL,
    DILATED,
    GAPS,
    dilated_strategy,
    greedy_strategy,
    regularised_strategy,
)
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    backup_action_values,
    backup_best_values,
    counterfactual_reach,
    gradient_of,
    realization_plan,
)
from marl_engine.numerics.checks import check_choices
from marl_engine.policies.tabular import TabularSpec, fill_tables, stack_tables
from marl_engine.responders.regulariser import check_objective, kl_terms
from marl_engine.types import UNREGULARISED, Objective, Opponents, Payoff, Profile, Step, Work


@dataclass
class ExactResponder:
    """Moves the tables of an extensive game. Raises ValueError for an unknown divergence."""

    STATE = ("work",)

    game: ExtensiveGame
    network: TabularSpec | None = None  # makes the policies
    seed: int = 0
    device: str = "cpu"
    divergence: str = BEHAVIORAL  # or dilated
    form: SequenceForm = field(init=False)
    work: Work = field(init=False, default_factory=Work)  # queries: evaluations of payoffs against a profile
    supports: frozenset[str] = field(
        init=False, default=frozenset({"opponents", "mixtures", "anchor", "magnet", "payoff"})
    )

    def __post_init__(self) -> None:
        check_choices("responder", self, divergence=GAPS)
        self.form = self.game.form

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """See `Responder`. All seats move simultaneously."""
        check_objective(self, opponents, objective)
        form = form_of(self.form, objective.payoff)
        members, weights = opponents or Opponents([profile])
        own, work = stack_tables(profile), Work(queries=len(members))
        plans = [realization_plan(form, stack_tables(member)) for member in members]
        value = weighted_sum([gradient_of(form, plan) for plan in plans], weights)
        terms = [(weight, stack_tables(other)) for other, weight in kl_terms(objective)]
        if terms and self.divergence == DILATED:
            fill_tables(profile, dilated_strategy(form, value, terms))
        elif terms:
            backup_action_values(form, own, value)
            reach = weighted_sum([counterfactual_reach(form, own, plan) for plan in plans], weights)
            value = np.divide(value, reach, out=np.zeros_like(value), where=reach > 0)
            fill_tables(profile, regularised_strategy(form, value, terms))
        else:
            backup_best_values(form, value)
            fill_tables(profile, greedy_strategy(form, value))
        self.work.update(work)
        return Step({}, work)

    def snapshot(self, profile: Profile) -> np.ndarray:
        """See `Responder`."""
        return stack_tables(profile)

    def rollback(self, profile: Profile, snapshot: np.ndarray) -> None:
        """See `Responder`."""
        fill_tables(profile, snapshot)

    def prepare(self, profile: Profile) -> None:
        """See `Responder`. Nothing has to be created."""


def form_of(form: SequenceForm, payoff: Payoff | None) -> SequenceForm:
    """The form with the payoffs of an objective. Raises ValueError for payoffs that only sampled play has."""
    if payoff is None:
        return form
    if payoff.on_form is None:
        raise ValueError("this payoff is a function of trajectories, which an exact responder does not play")
    changed: SequenceForm = payoff.on_form(form)
    return changed


def weighted_sum(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Returns sum_k weights[k] * arrays[k], (S,)."""
    if len(arrays) == 1:
        return arrays[0]
    return np.tensordot(np.asarray(weights), np.stack(arrays), axes=1)
