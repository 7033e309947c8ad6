"""The responder for tables of Bayesian networks: steps along the exact policy gradient of a team.

Chen and Zhang 2023 (arXiv:2306.01920). No games are played.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from marl_engine.capabilities import TeamMarkovGame
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.bayes_net import BayesNetTableSpec
from marl_engine.policies.bayes_net.exact import evaluate, joint_policy, nash_conv, optimal_value, policy_gradient
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.regulariser import check_objective
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Profile, Step, Work


@dataclass
class TeamAscent:
    """Moves the logits of all seats at once. Raises ValueError unless the learning rate is above 0."""

    STATE = ("work",)
    divergence = BEHAVIORAL

    game: TeamMarkovGame
    network: BayesNetTableSpec | None = None  # makes the policies
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 0.1
    form: None = field(init=False, default=None)
    work: Work = field(init=False, default_factory=Work)
    supports: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        check_fields("responder", self, "learning_rate", above=0)
        self.rules = self.game.markov_rules()
        self.optimum = optimal_value(self.rules)

    @torch.no_grad()
    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """See `Responder`. The profile is one table in all seats."""
        check_objective(self, opponents, objective)
        team: Any = profile[0]
        for logits, slope in zip(
            team.logits, policy_gradient(self.rules, list(team.logits), team.parents), strict=True
        ):
            logits += self.learning_rate * slope
        work = Work(gradients=1)
        self.work.update(work)
        return Step(self._measure(team), work)

    def _measure(self, team: Any) -> Metrics:
        """Returns the value, its share of the best one, and what the seats gain by best responses."""
        tables = team.tables()
        value = evaluate(self.rules, joint_policy(tables, team.parents), len(tables)).value.item()
        gain = nash_conv(self.rules, tables, team.parents).item()
        return {"value/0": value, "price_of_anarchy": value / self.optimum, "nash_conv": gain}

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile)

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile)

    def prepare(self, profile: Profile) -> None:
        """See `Responder`. Nothing has to be created."""
