"""Reservoir average: a second network learns what the profile of another solver has played on average.

For solvers of which theory promises only that the average converges: self-play, Hedge, fictitious play with networks.
The decisions of the last step of every iteration enter a reservoir, to which the average is fitted as in neural
fictitious self-play (Heinrich and Silver 2016, arXiv:1603.01121, section 3.2). The other solver is not changed: it
moves a copy of the profile. The average is one network, however many iterations there were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marl_engine.configuration import instantiate
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.schedules import parse_schedule
from marl_engine.numerics.state import resume_field
from marl_engine.responders.learners.average_policy import POWERS, UNIFORM, AveragedLearner, Recorder, check_average
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Responder, Runner, Solver


@dataclass
class ReservoirAverage:
    """Plays as the other solver does. Yields the average.

    Raises ValueError for numbers below 1 and an unknown averaging.
    """

    STATE = ("solver", "learner")

    solver: Any  # the other solver, or a section of a configuration that names it
    reservoir: int = 1_000_000  # decisions that the average policies learn from
    averaging: str = UNIFORM  # weights of decisions in the average: uniform, linear or quadratic in time
    updates: int = 8  # gradient steps of the average policies in an iteration
    batch: int = 4096  # decisions in each of them
    learning_rate: Any = 1e-3  # of the average policies

    def __post_init__(self) -> None:
        check_fields("solver", self, "reservoir", "updates", "batch", least=1, whole=True)
        check_choices("solver", self, averaging=POWERS)
        self.schedule = parse_schedule(self.learning_rate, "solver.learning_rate")
        self.solver: Solver = (
            instantiate("solver.solver", self.solver) if isinstance(self.solver, Mapping) else self.solver
        )
        self.learner: AveragedLearner | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_average(profile, responder, type(self).__name__)
        self.solver.solve(profile, responder, runner)  # checks its arguments
        try:
            self.solver.solve(profile, Recorder(responder), runner)
        except ValueError as error:
            raise ValueError(
                f"solver.solver={type(self.solver).__name__} learns by copies of its responder, whose games "
                "ReservoirAverage does not see; choose a solver without them, like solvers.self_play.SelfPlay"
            ) from error
        return self._solve(profile, responder, runner, after)

    def _solve(self, average: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        learner = resume_field(
            self, "learner", AveragedLearner(average, responder, self.reservoir, self.averaging), after
        )
        recorder = Recorder(learner.responder)
        for progress in self.solver.solve(learner.profile, recorder, runner, after):
            responder.work.update(progress.work)
            learner.add(recorder.batch)
            losses = learner.fit(self.updates, self.batch, self.schedule.at(responder.work["steps"]))
            distance = measure_nash_conv(responder, average, iterate="average")
            yield Progress(progress.iteration, average, progress.metrics | losses | distance, progress.work)
