"""Self-play: the profile plays itself; a team with a common payoff learns together.

With one network in all seats this is the parameter sharing of IPPO and MAPPO (arXiv:2011.09533, arXiv:2103.01955); with
one network for each seat it is independent learning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Responder, Runner


@dataclass
class SelfPlay:
    """Plays against: itself. Anchored to: itself. Magnet: none."""

    STATE = ()

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """Yields progress for ever, from iteration `after` + 1 on."""
        for iteration in count(after + 1):
            step = responder.respond(profile)
            yield Progress(iteration, profile, step.metrics | measure_nash_conv(responder, profile), step.work)
