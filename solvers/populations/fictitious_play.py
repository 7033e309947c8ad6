"""Fictitious play in sequence form (XFP): answer the average of everything that has been played, and add the answer.

Heinrich, Lanctot and Silver 2015, "Fictitious Self-Play in Extensive-Form Games", section 3; in one-shot games it is
Brown's (1951). The average is that of plans. It converges in two-player zero-sum games, in potential games and in
teams; in Shapley's game it runs in circles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.policies.mixture import freeze
from marl_engine.policies.tabular import average_strategy, fill_tables
from marl_engine.responders.exact import require_exact
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner


@dataclass
class FictitiousPlay:
    """Plays against: the average of its answers. Anchored to: nothing. Magnet: none. Yields the average."""

    STATE = ()

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is one of tables."""
        require_exact(responder, profile, type(self).__name__)
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            answer = freeze(profile)
            step = responder.respond(answer, Opponents([profile]))
            old, new = iteration / (iteration + 1), 1 / (iteration + 1)
            both = list(zip(profile, answer, strict=True))
            fill_tables(profile, average_strategy(both, [(old, new)] * len(both)))
            distance = measure_nash_conv(responder, profile, iterate="average")
            yield Progress(iteration, profile, step.metrics | distance, step.work)
