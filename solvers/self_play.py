"""Self-play: the profile plays itself; for a team with one payoff, the team learns together.

With one network in every seat this is the parameter sharing of IPPO and MAPPO (arXiv:2011.09533,
arXiv:2103.01955); with one network for each seat, independent learners.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.types import Profile, Progress, Responder


@dataclass
class SelfPlay:
    """Plays against: itself. Anchored to: itself. Magnet: none."""

    def solve(self, profile: Profile, responder: Responder, after: int = 0) -> Iterator[Progress]:
        """Yields progress for ever, from iteration `after` + 1 on."""
        for iteration in count(after + 1):
            step = responder.respond(profile)
            yield Progress(iteration, profile, step.metrics, step.work)

    def state(self) -> dict[str, Any]:
        """Nothing: all that self-play knows is the profile."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
