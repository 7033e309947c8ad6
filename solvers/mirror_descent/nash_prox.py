"""Nash Prox: self-play anchored to a slowly moving target, with the reference as magnet.

The proximal point form of Nash learning (arXiv:2505.19731, second version); with an average as the target it is the
practical form of Nash-MP in the first version. Self-play alone leaves the equilibrium of the regularised game if its
steps are too large for its magnet_weight; a target that is fixed for many steps keeps it stable. On tables, with
`move_every` 1 and without an average, it is magnetic mirror descent.
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
from marl_engine.types import Objective, Profile, Progress, Responder, Runner


@dataclass
class NashProx:
    """Plays against: itself. Anchored to: the target. Magnet: the reference.

    Raises ValueError for numbers out of range.
    """

    STATE = ("reference", "target")

    step_size: float = 5.0  # eta / beta: the penalty to the target has weight 1 / step_size
    magnet_weight: float = 0.05  # beta
    move_every: int = 10  # iterations between moves of the target
    keep: float = 0.0  # kappa: weight of the old target in a move; 0: it becomes the profile

    def __post_init__(self) -> None:
        check_step(self.step_size, self.magnet_weight)
        check_fields("solver", self, "move_every", least=1, whole=True)
        check_fields("solver", self, "keep", least=0, below=1)
        self.reference: Profile | None = None
        self.target: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "anchor", "magnet")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        target = resume_field(self, "target", freeze(profile), after)
        objective = Objective(target, self.step_size, reference, self.magnet_weight)
        for iteration in count(after + 1):
            step = responder.respond(profile, objective=objective)
            if iteration % self.move_every == 0:
                interpolate_weights(target, profile, 1 - self.keep)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
