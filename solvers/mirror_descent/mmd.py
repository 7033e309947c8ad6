"""Magnetic mirror descent: self-play with KL penalties towards the present profile and towards a magnet.

Sokota et al. 2023 (arXiv:2206.05825, section 3). If `magnet_weight` is above 0 and the step is small enough, the last
iterate converges to the equilibrium of the regularised game. INPO's exact step (Zhang et al. 2024, arXiv:2407.00617) is
the same: in INPO's notation eta is the inverse of a step, and step_size = 1 / (eta - magnet_weight). Without a
magnet_weight it is Hedge, the exact form of SPO, SPPO and DNO: averages converge, and last iterates cycle.

With `anneal`, step and magnet_weight fall as 1 / sqrt(iteration), which leads to an equilibrium of the game itself. An
iteration reduces the influence of the start by the factor 1 - step * magnet_weight. Therefore both stay constant until
iteration 1 / (step_size * magnet_weight); from there on their product is 1 / iteration, and the influence of the start
falls as 1 / iteration.

With `move_every` the magnet moves to the profile after that many iterations, as in COMAL and in the proximal point
method. In game trees the profile can then lose actions that it needs again later, and the distance from equilibrium
rises and falls. `first_share` avoids this: the k-th magnet is a mixture that plays the first profile with probability
first_share / k, so that no action is lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.responders.regulariser import check_step, check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Profile, Progress, Responder, Runner


@dataclass
class MMD:
    """Plays against: itself. Anchored to: itself. Magnet: the reference.

    Raises ValueError for a step that is not above 0, a magnet_weight or `move_every` below 0, and a `first_share` that
    is not from 0 to 1, or above 0 without tables.
    """

    STATE = ("reference", "first")

    step_size: float = 0.1  # eta of MMD, gamma of the kernel
    magnet_weight: float = 0.1  # alpha of MMD, tau of INPO
    anneal: bool = False
    move_every: int = 0  # iterations; 0: the magnet stays
    first_share: float = 0.0

    def __post_init__(self) -> None:
        check_step(self.step_size, self.magnet_weight, infinite=True)
        check_fields("solver", self, "move_every", least=0, whole=True)
        check_fields("solver", self, "first_share", least=0, most=1)
        self.reference: Profile | None = None  # the profile that the magnet moved to last
        self.first: Profile | None = None  # the first profile, if it has a share

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "anchor", "magnet")
        mixed = self.mix_magnet(profile, profile if self.first_share > 0 else None, moves=1)
        if mixed is not profile and any(policy.initial_memory(1) is not None for policy in mixed):
            raise ValueError(
                "solver.first_share is for tables: mixtures of other policies remember what they play, so they are no "
                "magnets; use policy=table, or solver.first_share=0"
            )
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        first = resume_field(self, "first", freeze(profile), after) if self.first_share > 0 else None
        magnet = self.mix_magnet(reference, first, after // self.move_every if self.move_every else 0)
        for iteration in count(after + 1):
            slower = self.slow_down(iteration) if self.anneal else 1.0
            step_size, magnet_weight = self.step_size * slower, self.magnet_weight * slower
            objective = Objective(freeze(profile), step_size, magnet, magnet_weight)
            step = responder.respond(profile, objective=objective)
            distance = measure_nash_conv(responder, profile, magnet, magnet_weight)
            if self.move_every and iteration % self.move_every == 0:
                self.reference = freeze(profile)
                magnet = self.mix_magnet(self.reference, first, iteration // self.move_every)
            yield Progress(iteration, profile, step.metrics | distance, step.work)

    def mix_magnet(self, reference: Profile, first: Profile | None, moves: int) -> Profile:
        """Returns the magnet after a number of moves, the last one to `reference`."""
        if first is None or moves == 0:
            return reference
        share = self.first_share / moves
        return mix_members(
            [list(each) for each in zip(reference, first, strict=True)], [[1 - share, share]] * len(first)
        )

    def slow_down(self, iteration: int) -> float:
        """Returns the factor on step and magnet_weight with `anneal`.

        Without a magnet_weight it falls from the first iteration on.
        """
        strength = self.step_size * self.magnet_weight
        constant = max(1.0, 1 / strength) if strength > 0 else 1.0
        return (constant / max(iteration, constant)) ** 0.5
