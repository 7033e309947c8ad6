"""Best response: maximises the payoff against a fixed opponent, regularised towards the reference.

It measures how exploitable a policy is. Against the reference itself this is reinforcement learning from human feedback
with a preference in place of a reward.
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
class BestResponse:
    """Plays against: the last checkpoint of a run, or the reference. Anchored to: nothing. Magnet: the reference.

    Raises ValueError for a magnet_weight below 0, and a run without a checkpoint that fits.
    """

    STATE = ("reference",)

    opponent: str | None = outside(None)  # a run folder; null: the reference
    magnet_weight: float = 0.0  # tau

    def __post_init__(self) -> None:
        check_step(1.0, self.magnet_weight)
        self.reference: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        magnet = ["magnet"] if self.magnet_weight > 0 else []
        check_supports(responder, type(self).__name__, "opponents", *magnet)
        return self._solve(profile, self.load_opponent(profile), responder, after)

    def load_opponent(self, profile: Profile) -> Profile | None:
        """Returns the opponent of the learner, whose initial policies are `profile`; None: these. Raises Refused."""
        return None if self.opponent is None else load_saved_profile(Path(self.opponent), profile, "solver.opponent")

    def _solve(
        self, profile: Profile, opponent: Profile | None, responder: Responder, after: int
    ) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        opponents = Opponents([opponent or reference])
        objective = Objective(magnet=reference, magnet_weight=self.magnet_weight)
        for iteration in count(after + 1):
            step = responder.respond(profile, opponents, objective)
            distance = measure_nash_conv(responder, profile, reference, self.magnet_weight)
            yield Progress(iteration, profile, step.metrics | distance, step.work)
