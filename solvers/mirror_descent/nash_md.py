"""Nash-MD: mirror descent against, and anchored to, a geometric mixture of itself and the reference.

Munos et al. 2023 (arXiv:2312.00886, section 6). The mixture is ~ profile^(1 - step_size * magnet_weight) *
reference^(step_size * magnet_weight). The last iterate converges to the equilibrium of the regularised game as the step
goes to 0. With `anneal` the step is that of the paper's theorem, 2 / (magnet_weight * (iteration + 1)), once this is
below step_size. With a constant step the *mixture* is the equilibrium for magnet_weight / (1 - step_size *
magnet_weight).

KL(. || mixture) / step_size is implemented as magnet_weight * KL(. || reference) + (1 / step_size - magnet_weight) *
KL(. || profile), which equals it up to a constant: the mixture has no log-probabilities of whole answers. One gradient
step on this is Nash-MD-PG (section 7), in whose mixture the reference has the weight beta = step_size * magnet_weight.
If this product is 1, the opponent is the reference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import inf

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields, check_number
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze, mix_geometrically
from marl_engine.responders.regulariser import check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class NashMD:
    """Plays against: the mixture. Anchored to: the same, as itself and the reference. Magnet: the reference.

    Raises ValueError unless step_size and magnet_weight are above 0 and step_size * magnet_weight is 1 or below.
    """

    STATE = ("reference",)

    step_size: float = 1.0  # eta
    magnet_weight: float = 0.1  # tau
    anneal: bool = False

    def __post_init__(self) -> None:
        check_fields("solver", self, "step_size", "magnet_weight", above=0)
        check_number("solver.step_size times solver.magnet_weight", self.step_size * self.magnet_weight, most=1)
        self.reference: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor", "magnet")
        mix_geometrically(profile, profile, 0.0)  # raises for policies that cannot be mixed
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        for iteration in count(after + 1):
            step_size = (
                min(self.step_size, 2 / (self.magnet_weight * (iteration + 1))) if self.anneal else self.step_size
            )
            itself, weight = freeze(profile), step_size * self.magnet_weight
            own_step = step_size / (1 - weight) if weight < 1 else inf
            mixture = mix_geometrically(itself, reference, weight)
            objective = Objective(itself, own_step, reference, self.magnet_weight)
            step = responder.respond(profile, Opponents([mixture]), objective)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
