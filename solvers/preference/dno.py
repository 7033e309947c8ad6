"""DNO with a teacher: contrastive regression on pairs of own and the teacher's answers with a large margin.

DNO-Prct (Rosset et al. 2024, arXiv:2404.03715, algorithm 2). This is DPO whose reference is the learner at the start of
the iteration, so there is no fixed point: certain labels have no finite solution, and more steps on the same pairs make
it worse. The checkpoint that is best on held-out prompts is kept. It departs from the paper in two ways: margins are
differences of win rates within the group, instead of scores from 0 to 5 by a language model, and pairs of earlier
iterations are not used again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from marl_engine.configuration import outside
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.runs.saved_weights import load_saved_profile
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class DNO:
    """Plays against: itself and a teacher. Anchored to: itself. Magnet: none.

    Raises ValueError unless step_size is above 0, and for a teacher without a checkpoint that fits.
    """

    STATE = ("reference",)

    teacher: str | None = outside(None)  # a run folder; null: the reference
    step_size: float = 10.0  # 1 / beta

    def __post_init__(self) -> None:
        check_step(self.step_size, 0.0)
        self.reference: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor")
        teacher = None if self.teacher is None else load_saved_profile(Path(self.teacher), profile, "solver.teacher")
        return self._solve(profile, teacher, responder, after)

    def _solve(self, profile: Profile, teacher: Profile | None, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        for iteration in count(after + 1):
            objective = Objective(anchor=freeze(profile), step_size=self.step_size)
            step = responder.respond(profile, Opponents([teacher or reference]), objective)
            distance = measure_nash_conv(responder, profile, reference)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
