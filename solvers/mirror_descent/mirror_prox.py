"""Mirror-Prox, or Nash Mirror Prox: look a step ahead, and answer what is seen there.

Nash learning by two proximal steps (arXiv:2505.19731), each anchored to where the iteration began; the first
plays against the profile itself, the second against the look-ahead. With `pull` above 0 the last iterate goes to the
equilibrium of the game regularised towards the reference, KL(equilibrium || iterate) falling by 1 + pull * step_size
in an iteration while step_size <= 2 (payoffs within one half of 0). EGPO is the same algorithm with the step
step_size / (1 + pull * step_size).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measured
from marl_engine.policies.mixture import Reference, blend, frozen
from marl_engine.responders.actor_critic import momenta
from marl_engine.responders.regulariser import check_holds, check_step
from marl_engine.types import Profile, Progress, Responder


@dataclass
class MirrorProx:
    """Plays against: itself, then the look-ahead. Anchored to: its start, both times. Magnet: the reference.

    Raises ValueError for a step that is not above 0 and a pull below 0.
    """

    step_size: float = 2.0  # gamma; eta / beta in the paper
    pull: float = 0.05  # beta

    def __post_init__(self) -> None:
        check_step(self.step_size, self.pull)
        self.reference = Reference()

    def solve(self, profile: Profile, responder: Responder, after: int = 0) -> Iterator[Progress]:
        """See `Solver`."""
        check_holds(responder, "solver=mirror_prox")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = self.reference.of(profile, after)
        held: dict[str, Any] = {"step_size": self.step_size, "magnet": reference, "pull": self.pull}
        for iteration in count(after + 1):
            start, steps = frozen(profile), momenta(responder, profile)
            responder.respond(profile, against=start, anchor=start, **held)
            ahead = frozen(profile)
            blend(profile, start, 1.0)  # a step by gradient is taken from where it began
            for descent, before in steps:
                descent.restore(before)  # and knows nothing of the look-ahead's
            metrics = responder.respond(profile, against=ahead, anchor=start, **held)
            yield Progress(iteration, profile, metrics | measured(responder, profile, reference, self.pull))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self.reference.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.reference.restore(state)
