"""Mirror descent policy optimisation: maximises the game's own reward, anchored to itself, by a few gradient steps.

Tomar et al. 2020 (arXiv:2005.09814, sections 4 and 5): max <A, pi> - KL(pi || pi_k) / t_k, with the new policy first.
With `responder=mdpo` it is the on-policy algorithm, with m = responder.epochs full-batch steps on the advantages of the
last rollout. With `responder=off_policy` it is the off-policy algorithm, in which pi_k is fixed during an iteration of
that responder.

It departs from the paper in the unit of t_k, which is 1 / (the game's payoff), as everywhere here: standardised
advantages are scaled back to payoffs. The paper's t_k falls as 1 - k / K; here it is constant, or falls to `end`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.responders.regulariser import check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Profile, Progress, Responder, Runner, main_unit


@dataclass
class MDPO:
    """Plays against: itself. Anchored to: itself. Magnet: none. Raises ValueError for a step that is not above 0."""

    STATE = ()

    step_size: Any = 0.1  # t_k

    def __post_init__(self) -> None:
        self.schedule: Schedule = parse_schedule(self.step_size, "solver.step_size")
        if min(self.schedule.at(0), self.schedule.at(float("inf"))) <= 0:
            raise ValueError(f"solver.step_size must be above 0 all the time, not {self.step_size!r}")

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "anchor")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            step_size = self.schedule.at(responder.work[main_unit(responder.work)])
            step = responder.respond(profile, objective=Objective(anchor=freeze(profile), step_size=step_size))
            metrics = step.metrics | {"step_size": step_size} | measure_nash_conv(responder, profile)
            yield Progress(iteration, profile, metrics, step.work)
