"""Mirror-Prox (Nash Mirror Prox): takes a step ahead, and responds to what it would meet there.

Nash learning by two proximal steps (arXiv:2505.19731), each anchored to the start of the iteration. The first step is
against the profile itself, the second against the look-ahead. If `magnet_weight` is above 0, the last iterate converges
to the equilibrium of the game regularised towards the reference: KL(equilibrium || iterate) falls by the factor 1 +
magnet_weight * step_size in each iteration if step_size <= 2 (for payoffs between -1/2 and 1/2). EGPO is the same
algorithm with the step step_size / (1 + magnet_weight * step_size).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents, Profile, Progress, Responder, Runner


@dataclass
class MirrorProx:
    """Plays against: itself, then the look-ahead. Anchored to: its start, both times. Magnet: the reference.

    Raises ValueError for a step that is not above 0 and a magnet_weight below 0.
    """

    STATE = ("reference",)

    step_size: float = 2.0  # gamma; eta / beta in the paper
    magnet_weight: float = 0.05  # beta

    def __post_init__(self) -> None:
        check_step(self.step_size, self.magnet_weight)
        self.reference: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "anchor", "magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        for iteration in count(after + 1):
            start, snapshot = freeze(profile), responder.snapshot(profile)
            objective = Objective(start, self.step_size, reference, self.magnet_weight)
            look_ahead = responder.respond(profile, Opponents([start]), objective)
            ahead = freeze(profile)
            responder.rollback(profile, snapshot)  # gradient steps start from the beginning of the iteration
            step = responder.respond(profile, Opponents([ahead]), objective)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, look_ahead.work + step.work)
