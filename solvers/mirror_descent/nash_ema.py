"""Nash-EMA: plays against an exponential average of its past parameters, with the reference as magnet.

Munos et al. 2023 (arXiv:2312.00886, section 7, Nash-EMA-PG). Since parameters are averaged, it is fictitious play to
first order. For tables, parameters are probabilities, and the opponent is the mixture of past strategies. For networks
and language models nothing is guaranteed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze, interpolate_weights
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class NashEMA:
    """Plays against: the average. Anchored to: itself. Magnet: the reference.

    Raises ValueError for numbers out of range.
    """

    STATE = ("reference", "average")

    step_size: float = 0.1  # eta
    magnet_weight: float = 0.1  # tau
    keep: float = 0.99  # weight of the old average in an iteration; the paper's decay is .999

    def __post_init__(self) -> None:
        check_step(self.step_size, self.magnet_weight)
        check_fields("solver", self, "keep", least=0, below=1)
        self.reference: Profile | None = None
        self.average: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor", "magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        average = resume_field(self, "average", freeze(profile), after)
        for iteration in count(after + 1):
            objective = Objective(freeze(profile), self.step_size, reference, self.magnet_weight)
            step = responder.respond(profile, Opponents([average]), objective)
            interpolate_weights(average, profile, 1 - self.keep)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
