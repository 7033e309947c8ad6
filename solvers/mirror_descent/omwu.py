"""Optimistic mirror descent: answer the last profile, and play as if the same answer were to be given once more.

Rakhlin and Sridharan 2013 (arXiv:1311.1869). With the entropy, as here, it is optimistic multiplicative weights
(OMWU), whose last iterate converges in two-player zero-sum games (Daskalakis and Panageas 2019, arXiv:1807.04252);
with a `pull` it goes to the equilibrium of the regularised game (Cen, Wei and Chi 2021, arXiv:2105.15186). It is
Mirror-Prox with the last look-ahead in place of a fresh one, at half its queries: the second step needs none, for from
a base w that has moved to w' it ends at w' * (w' / w)^(1 / (1 + step_size * pull)).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measured
from marl_engine.policies.mixture import Reference, frozen
from marl_engine.policies.tabular import fill, geometric
from marl_engine.responders.exact import exact
from marl_engine.responders.regulariser import check_step
from marl_engine.types import Profile, Progress, Responder


@dataclass
class Optimistic:
    """Plays against: itself, a step ahead of its base. Anchored to: the base. Magnet: the reference.

    Raises ValueError for a step that is not above 0 and a pull below 0.
    """

    step_size: float = 0.5  # eta
    pull: float = 0.0  # tau

    def __post_init__(self) -> None:
        check_step(self.step_size, self.pull)
        self.reference, self.base = Reference(), Reference()

    def solve(self, profile: Profile, responder: Responder, after: int = 0) -> Iterator[Progress]:
        """See `Solver`. The profile is one of tables."""
        exact(responder, profile, "solver=omwu")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference, base = self.reference.of(profile, after), self.base.of(profile, after)
        held: dict[str, Any] = {"step_size": self.step_size, "magnet": reference, "pull": self.pull}
        for iteration in count(after + 1):
            before = frozen(base)
            metrics = responder.respond(base, against=profile, anchor=before, **held)
            fill(profile, geometric(base, before, -1 / (1 + self.step_size * self.pull)))
            yield Progress(iteration, profile, metrics | measured(responder, profile, reference, self.pull))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"reference": self.reference.state(), "base": self.base.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.reference.restore(state["reference"])
        self.base.restore(state["base"])
