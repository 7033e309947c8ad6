"""SPO, self-play preference optimisation: win as often as you can against what you played lately.

Swamy et al. 2024 (arXiv:2401.04056): the reward of an answer is its mean win rate against a queue of recent ones, and
any learner that regrets little will do. The *average* of what is played goes to the minimax winner; the last iterate
runs in circles where preferences do, as Hedge, its exact form on tables, does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.language.generation import CompletionQueue
from marl_engine.policies.mixture import FrozenReference
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class SPO:
    """Plays against: a queue of its own recent answers. Anchored to: nothing. Magnet: the reference, if it pulls.

    Raises ValueError for numbers out of range, and policies that do not answer.
    """

    queue: int = 64  # answers to each prompt that are remembered
    magnet_weight: float = 0.0  # of a reference; the paper has none

    def __post_init__(self) -> None:
        check_step(1.0, self.magnet_weight)
        check_fields("solver", self, "queue", least=1, whole=True)
        self.reference = FrozenReference()
        self.recent: CompletionQueue | None = None
        self.saved: Mapping[str, Any] = {}

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "magnet")
        if not profile[0].generates:
            raise ValueError("SPO needs language policies; on tables it is MMD without a magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference, recent = self.reference.of(profile, after), CompletionQueue(profile[0], self.queue)  # type: ignore[arg-type]
        self.recent = recent
        if after:
            recent.restore(self.saved)
        objective = Objective(magnet=reference, magnet_weight=self.magnet_weight)
        for iteration in count(after + 1):
            step = responder.respond(profile, Opponents([[recent]]), objective)
            recent.push(step.batch.prompt_numbers, step.batch.completions.texts)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"reference": self.reference.state(), "recent": self.recent.state() if self.recent else self.saved}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.reference.restore(state["reference"])
        self.saved = state["recent"]
