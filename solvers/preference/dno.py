"""DNO with a teacher: regress on pairs that are far apart among your own answers and a teacher's, near where you are.

DNO-Prct (Rosset et al. 2024, arXiv:2404.03715, algorithm 2): DPO whose reference is the profile itself, so that it
climbs for ever; labels that are certain have no finite answer, and more steps on the same pairs make it worse. What is
best on prompts held out is what is kept. Margins are differences of win rates within the group, where the paper has
scores from 0 to 5 by a language model; pairs of earlier iterations are not learned from again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from marl_engine.configuration import outside
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.policies.mixture import FrozenReference, freeze
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner
from solvers.best_response import saved


@dataclass
class DNO:
    """Plays against: itself and a teacher. Anchored to: itself. Magnet: none.

    Raises ValueError for a step that is not above 0, and a teacher without a checkpoint that fits.
    """

    STATE = ("reference",)

    teacher: str | None = outside(None)  # a run folder; null: the reference
    step_size: float = 10.0  # 1 / beta

    def __post_init__(self) -> None:
        check_step(self.step_size, 0.0)
        self.reference = FrozenReference()

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor")
        teacher = None if self.teacher is None else saved(Path(self.teacher), profile, "solver.teacher")
        return self._solve(profile, teacher, responder, after)

    def _solve(self, profile: Profile, teacher: Profile | None, responder: Responder, after: int) -> Iterator[Progress]:
        reference = self.reference.of(profile, after)
        for iteration in count(after + 1):
            objective = Objective(anchor=freeze(profile), step_size=self.step_size)
            step = responder.respond(profile, Opponents([teacher or reference]), objective)
            distance = measure_nash_conv(responder, profile, reference)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
