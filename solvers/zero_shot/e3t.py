"""Self-play with a partner that makes mistakes: robust to strangers, without a population.

The mixture partner of Yan et al. 2023, "An Efficient End-to-End Training Approach for Zero-Shot Human-AI Coordination"
(E3T, NeurIPS 2023, section 4.1): the partner's policy is a mixture of the learner's own and the uniform policy, in each
decision. Departure: there is no network that predicts the partner's actions; a policy with memory can find out who its
partner is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.mixtures.noisy import add_noise
from marl_engine.responders.regulariser import check_plays, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner


@dataclass
class E3T:
    """Plays against: itself with mistakes. Anchored to: nothing. Magnet: none.

    Raises ValueError unless `noise` is between 0 and 1.
    """

    STATE = ()

    noise: float = 0.3  # epsilon: how often the partner takes any action

    def __post_init__(self) -> None:
        check_fields("solver", self, "noise", above=0, below=1)

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents")
        check_plays(responder, type(self).__name__)
        return self._solve(profile, responder, Opponents([add_noise(profile, self.noise)]), after)

    def _solve(self, profile: Profile, responder: Responder, partners: Opponents, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            step = responder.respond(profile, partners)
            yield Progress(iteration, profile, step.metrics | measure_nash_conv(responder, profile), step.work)
