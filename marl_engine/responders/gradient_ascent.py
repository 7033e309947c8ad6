"""The responder for differentiable games: one gradient step of each seat, with the others fixed.

If all seats take it simultaneously, this is naive learning, LOLA's baseline (Foerster et al. 2018, arXiv:1709.04326,
with exact gradients). Nothing is played, and steps are not regularised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marl_engine.capabilities import DifferentiableGame
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.softmax_table import SoftmaxTableSpec, copy_logits, step_logits
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.regulariser import check_objective
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Profile, Step, Work

Values = Callable[[Sequence[Tensor]], Tensor]  # strategies (..., S, A) of P seats -> payoffs (..., P)


def own_gradients(values: Values, own: Sequence[Tensor], others: Sequence[Tensor], again: bool = False) -> list[Tensor]:
    """Returns d V_i(softmax own_i, softmax others_-i) / d own_i for each seat i; logits and results are (..., S, A).

    The derivative includes the dependence of the others' logits on own_i, if there is any. With `again` the result can
    be differentiated.
    """
    gradients: list[Tensor] = []
    for seat, logits in enumerate(own):
        seated = [*others[:seat], logits, *others[seat + 1 :]]
        value = values([each.softmax(-1) for each in seated])[..., seat].sum()
        gradients += torch.autograd.grad(value, logits, create_graph=again, retain_graph=True)
    return gradients


@dataclass
class GradientAscent:
    """Moves tables of logits. Raises ValueError unless the learning rate is above 0."""

    STATE = ("work",)
    divergence = BEHAVIORAL

    game: DifferentiableGame
    network: SoftmaxTableSpec | None = None  # makes the policies
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 25.0  # delta; in units of values
    form: None = field(init=False, default=None)
    work: Work = field(init=False, default_factory=Work)  # gradients: one counts for all seats
    supports: frozenset[str] = field(init=False, default=frozenset({"opponents"}))

    def __post_init__(self) -> None:
        check_fields("responder", self, "learning_rate", above=0)

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """See `Responder`. All seats move simultaneously."""
        check_objective(self, opponents, objective)
        own, values = copy_logits(profile), self.game.values
        if opponents is None:
            return self.ascend(profile, own_gradients(values, own, own), Work(gradients=1))
        members = [own_gradients(values, own, copy_logits(member)) for member in opponents.members]
        gradients = [
            sum(weight * gradient for weight, gradient in zip(opponents.weights, each, strict=True))
            for each in zip(*members, strict=True)
        ]
        return self.ascend(profile, gradients, Work(gradients=len(members)))  # type: ignore[arg-type]

    def ascend(self, profile: Profile, gradients: Sequence[Tensor], work: Work) -> Step:
        """Takes a step along gradients (S, A) of each seat's logits, which cost `work`."""
        step_logits(profile, gradients, self.learning_rate)
        self.work.update(work)
        return Step(measure_values(self, profile), work)

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile)

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile)

    def prepare(self, profile: Profile) -> None:
        """See `Responder`. Nothing has to be created."""


@torch.no_grad()
def measure_values(responder: GradientAscent, profile: Profile) -> Metrics:
    """Returns payoffs as value/SEAT, and probabilities of the first action as first_action/SEAT/STATE."""
    strategies = [logits.softmax(-1) for logits in copy_logits(profile)]
    metrics = {f"value/{seat}": each.item() for seat, each in enumerate(responder.game.values(strategies))}
    for seat, strategy in enumerate(strategies):
        metrics |= {f"first_action/{seat}/{state}": chance for state, chance in enumerate(strategy[:, 0].tolist())}
    return metrics
