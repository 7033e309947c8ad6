"""Optimistic mirror descent: takes a step against the last profile, and plays as if the same step followed once more.

Rakhlin and Sridharan 2013 (arXiv:1311.1869). With entropy as the regulariser it is optimistic multiplicative weights
(OMWU), whose last iterate converges in two-player zero-sum games (Daskalakis and Panageas 2019, arXiv:1807.04252). With
a `magnet_weight` it converges to the equilibrium of the regularised game (Cen, Wei and Chi 2021, arXiv:2105.15186). It
is Mirror-Prox that uses the last look-ahead again instead of computing a new one, so it needs half as many queries. The
second step needs no query: from a base w that has moved to w' it ends at
w' * (w' / w)^(1 / (1 + step_size * magnet_weight)). The parameters of networks are extrapolated in the same proportion.

With `anneal` the magnet_weight falls as 1 / iteration, which leads the last iterate to an equilibrium of the game
itself, also in game trees with a dilated divergence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import extrapolate, freeze, interpolate_weights
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class OMWU:
    """Plays against: itself, a step ahead of its base. Anchored to: the base. Magnet: the reference.

    Raises ValueError for a step that is not above 0 and a magnet_weight below 0.
    """

    STATE = ("reference", "base")

    step_size: float = 0.5  # eta
    magnet_weight: float = 0.0  # tau
    anneal: bool = False

    def __post_init__(self) -> None:
        check_step(self.step_size, self.magnet_weight)
        self.reference: Profile | None = None
        self.base: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor", "magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        base = resume_field(self, "base", freeze(profile), after)
        for iteration in count(after + 1):
            start, forecast = base, freeze(profile)
            interpolate_weights(profile, start, 1.0)
            magnet_weight = self.magnet_weight / iteration if self.anneal else self.magnet_weight
            objective = Objective(start, self.step_size, reference, magnet_weight)
            step = responder.respond(profile, Opponents([forecast]), objective)
            base = self.base = freeze(profile)
            extrapolate(profile, start, base, 1 / (1 + self.step_size * magnet_weight))
            distance = measure_nash_conv(responder, profile, reference, magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
