"""Neural fictitious self-play (NFSP): responds to the average of its own responses, which a second network learns.

Heinrich and Silver 2016 (arXiv:1603.01121, Algorithm 1). In every game each opponent plays its best response with
probability `eta`, and its average policy otherwise. The decisions of the best responses enter a reservoir, from which
the average policies learn; these are the result. With eta = 1 the learner meets only itself, so that this is self-play
and its average; with eta near 0 it is fictitious play.

Departures: any responder that plays learns the responses, such as PPO instead of Q-learning. A learner plays its best
response in all games that it learns from. In the paper it plays it in a share `eta` of them, and only the decisions of
these enter the reservoir.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.schedules import parse_schedule
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.responders.learners.average_policy import POWERS, UNIFORM, AveragedLearner, check_average
from marl_engine.responders.regulariser import check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner


@dataclass
class NFSP:
    """Plays against: its best responses and their average. Anchored to: nothing. Yields the average.

    Raises ValueError for an `eta` that is not from 0 to 1, numbers below 1, and an unknown averaging.
    """

    STATE = ("learner",)

    eta: float = 0.3  # anticipatory parameter: share of games in which an opponent plays its best response
    reservoir: int = 1_000_000  # decisions that the average policies learn from
    averaging: str = UNIFORM  # weights of decisions in the average: uniform, linear or quadratic in time
    updates: int = 8  # gradient steps of the average policies in an iteration
    batch: int = 4096  # decisions in each of them
    learning_rate: Any = 1e-3  # of the average policies

    def __post_init__(self) -> None:
        check_fields("solver", self, "eta", least=0, most=1)
        check_fields("solver", self, "reservoir", "updates", "batch", least=1, whole=True)
        check_choices("solver", self, averaging=POWERS)
        self.schedule = parse_schedule(self.learning_rate, "solver.learning_rate")
        self.learner: AveragedLearner | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_average(profile, responder, type(self).__name__)
        check_supports(responder, type(self).__name__, "opponents", "mixtures")
        return self._solve(profile, responder, after)

    def _solve(self, average: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        learner = resume_field(
            self, "learner", AveragedLearner(average, responder, self.reservoir, self.averaging), after
        )
        for iteration in count(after + 1):
            both = list(zip(learner.profile, average, strict=True))
            anticipation = mix_members(both, [(self.eta, 1 - self.eta)] * len(both))
            step = learner.responder.respond(learner.profile, Opponents([anticipation]))
            responder.work.update(step.work)
            learner.add(step.batch)
            losses = learner.fit(self.updates, self.batch, self.schedule.at(responder.work["steps"]))
            distance = measure_nash_conv(responder, average, iterate="average")
            yield Progress(iteration, average, step.metrics | losses | distance, step.work)
