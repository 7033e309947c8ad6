"""SPO, self-play preference optimisation: maximises the win rate against a queue of recent own answers.

Swamy et al. 2024 (arXiv:2401.04056). The reward of an answer is its mean win rate against the queue, and any no-regret
learner may be used. The average of the iterates converges to the minimax winner; if preferences are cyclic, the last
iterate cycles, as Hedge does, its exact form on tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.language.generation import CompletionQueue
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class SPO:
    """Plays against: a queue of its own recent answers.

    Anchored to: nothing. Magnet: the reference, if magnet_weight > 0.

    Raises ValueError for numbers out of range, and policies that generate no answers.
    """

    STATE = ("reference", "answers")

    queue: int = 64  # answers kept for each prompt
    magnet_weight: float = 0.0  # of a reference; the paper has none

    def __post_init__(self) -> None:
        check_step(1.0, self.magnet_weight)
        check_fields("solver", self, "queue", least=1, whole=True)
        self.reference: Profile | None = None
        self.answers: dict[str, list[Any]] = {}  # of the queue

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "magnet")
        if not profile[0].generates:
            raise ValueError("SPO needs language policies; on tables it is MMD without a magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        if after == 0:
            self.answers = {}
        recent = CompletionQueue(profile[0], self.queue, self.answers)  # type: ignore[arg-type]
        objective = Objective(magnet=reference, magnet_weight=self.magnet_weight)
        for iteration in count(after + 1):
            step = responder.respond(profile, Opponents([[recent]]), objective)
            recent.push(step.batch.prompt_numbers, step.batch.completions.texts)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
