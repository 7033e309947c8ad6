"""Fictitious play in sequence form (XFP): adds a best response to the average of all strategies so far.

Heinrich, Lanctot and Silver 2015, "Fictitious Self-Play in Extensive-Form Games", section 3; in one-shot games it is
Brown's (1951). Realization plans are averaged. It converges in two-player zero-sum games, in potential games and in
teams; in Shapley's game it cycles.

A response starts from the initial profile, and is trained for `oracle_steps` steps of the responder; an exact responder
needs one step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.mixtures.population import become_mixture, begin_newcomers
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner, Work
from solvers.populations.oracles import check_oracles


@dataclass
class FictitiousPlay:
    """Plays against: the average of its answers. Anchored to: nothing. Magnet: none. Yields the average.

    Raises ValueError for `oracle_steps` below 1.
    """

    STATE = ()

    oracle_steps: int = 1  # steps of the responder for each answer

    def __post_init__(self) -> None:
        check_fields("solver", self, "oracle_steps", least=1, whole=True)

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_oracles(profile, responder, type(self).__name__)
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            answer, work = begin_newcomers(profile), Work()
            for _ in range(self.oracle_steps):
                step = responder.respond(answer, Opponents([profile]))
                work += step.work
            old, new = iteration / (iteration + 1), 1 / (iteration + 1)
            both = list(zip(profile, answer, strict=True))
            become_mixture(profile, both, [(old, new)] * len(both))
            distance = measure_nash_conv(responder, profile, iterate="average")
            yield Progress(iteration, profile, step.metrics | distance, work)
