"""The responder of games that say what strategies are worth: one step up the gradient, the others standing still.

If all seats take it at once, that is naive learning, as LOLA calls what it is compared with (Foerster et al. 2018,
arXiv:1709.04326, with exact gradients). Nothing is played, and a step is not held near anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from marl_engine.capabilities import DifferentiableGame
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.softmax_table import SoftmaxTableSpec, copy_logits, step_logits
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.regulariser import check_objective
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Profile, Step, Work

Values = Callable[[Sequence[Tensor]], Tensor]  # strategies (..., S, A) of P seats to what these earn (..., P)


def own_gradients(values: Values, own: Sequence[Tensor], others: Sequence[Tensor], again: bool = False) -> list[Tensor]:
    """d V_i(softmax own_i, softmax others_-i) / d own_i, (..., S, A) for each seat i, all being logits (..., S, A).

    Where the logits of the others depend on own_i, so does the derivative. With `again` it can be differentiated.
    """
    found: list[Tensor] = []
    for seat, logits in enumerate(own):
        seated = [*others[:seat], logits, *others[seat + 1 :]]
        value = values([each.softmax(-1) for each in seated])[..., seat].sum()
        found += torch.autograd.grad(value, logits, create_graph=again, retain_graph=True)
    return found


@dataclass
class GradientAscent:
    """Moves tables of logits. Raises ValueError for a learning rate that is not above 0."""

    game: DifferentiableGame
    network: SoftmaxTableSpec | None = None  # the maker of the policies
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 25.0  # delta; in units of values
    form: None = field(init=False, default=None)
    work: Work = field(init=False, default_factory=Work)  # gradients: one is that of every seat
    supports: frozenset[str] = field(init=False, default=frozenset({"opponents"}))

    def __post_init__(self) -> None:
        check_fields("responder", self, "learning_rate", above=0)

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """See `Responder`; all seats move at once."""
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
        """Steps up gradients (S, A) of each seat's logits, which took so much work to find."""
        step_logits(profile, gradients, self.learning_rate)
        self.work.update(work)
        return Step(measure_values(self, profile), work)

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile)

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile)

    def state(self, profile: Profile) -> dict[str, Any]:
        """For a checkpoint."""
        return {"work": dict(self.work)}

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.work = Work(state["work"])


@torch.no_grad()
def measure_values(responder: GradientAscent, profile: Profile) -> Metrics:
    """What each seat earns, value/SEAT, and how likely it is to take the first action, first_action/SEAT/STATE."""
    strategies = [logits.softmax(-1) for logits in copy_logits(profile)]
    found = {f"value/{seat}": each.item() for seat, each in enumerate(responder.game.values(strategies))}
    for seat, strategy in enumerate(strategies):
        found |= {f"first_action/{seat}/{state}": chance for state, chance in enumerate(strategy[:, 0].tolist())}
    return found
