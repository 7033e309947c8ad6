"""Self-play with a partner that makes mistakes: robust to strangers, without a population.

The mixture partner of Yan et al. 2023, "An Efficient End-to-End Training Approach for Zero-Shot Human-AI Coordination"
(E3T, NeurIPS 2023, section 4.1): the partner's policy is a mixture of the learner's own and the uniform policy, in each
decision. Departures: there is no network that predicts the partner's actions; a policy with memory can find out who its
partner is. And the noise may fall to 0 during training, for teams that play with themselves in the end. Then it is a
way to explore: a pair is led out of step again and again, and learns what to do in states that its convention avoids.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.mixtures.noisy import add_noise
from marl_engine.responders.regulariser import check_plays, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner, main_unit


@dataclass
class E3T:
    """Plays against: itself with mistakes. Anchored to: nothing. Magnet: none.

    Raises ValueError unless `noise` is below 1 all the time.
    """

    STATE = ()

    noise: Any = 0.3  # epsilon: how often the partner takes any action

    def __post_init__(self) -> None:
        self.schedule: Schedule = parse_schedule(self.noise, "solver.noise")
        if max(self.schedule.at(0), self.schedule.at(float("inf"))) >= 1:
            raise ValueError(f"solver.noise must be below 1 all the time, not {self.noise!r}")

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents")
        check_plays(responder, type(self).__name__)
        add_noise(profile, self.schedule.at(0))  # raises ValueError for policies that get no noise
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            noise = self.schedule.at(responder.work[main_unit(responder.work)])
            partners = Opponents([add_noise(profile, noise)]) if noise else None  # None: plain self-play
            step = responder.respond(profile, partners)
            metrics = step.metrics | {"noise": noise} | measure_nash_conv(responder, profile)
            yield Progress(iteration, profile, metrics, step.work)
