"""Policy-space response oracles (PSRO): adds responses to the meta-equilibrium of a population.

Lanctot et al. 2017 (arXiv:1711.00832, Algorithm 1). In every iteration a newcomer of each seat is trained against the
mixtures of the other seats' members, the new cells of the payoff table are measured, and the meta-game of this table is
solved again. With the Nash equilibrium of the meta-game this is the double oracle algorithm (McMahan, Gordon and Blum
2003). With the uniform distribution it is fictitious play, and only then a response that is a member already is added
again. `rectified` (Balduzzi et al. 2019, arXiv:1901.08106, Algorithm 4) trains a newcomer for each member in the
support, only against opponents to whom this member does not lose.

A newcomer is trained for `oracle_steps` steps of the responder; an exact responder needs one step. In a symmetric game
with one policy for all seats, the population has one list of members for all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.evaluation.report import Artefact
from marl_engine.numerics.checks import check_choices
from marl_engine.policies.mixtures.population import become_mixture, mix_members
from marl_engine.populations.matches import MatchFile
from marl_engine.populations.population import Population
from marl_engine.populations.uncertainty import product_joint
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner
from solvers.normal_form.catalogue import META
from solvers.populations.meta_game import MetaGame, check_population_fields, make_meta_game
from solvers.populations.oracles import (
    FIRST,
    STARTS,
    Oracle,
    check_oracles,
    count_steps,
    resume_population,
    start_newcomers,
    train_newcomers,
)

NASH, UNIFORM, RECTIFIED = "nash", "uniform", "rectified"
LEAST = 1e-6  # smallest weight in a support

Mixtures = list[np.ndarray]  # of the members of each seat


@dataclass
class PSRO:
    """Plays against: the meta-equilibrium of its population. Anchored to: nothing. Yields that equilibrium.

    Raises ValueError for an unknown meta-solver or start, and for numbers out of range.
    """

    STATE = ("symmetric", "population")

    meta: str = NASH  # how the meta-game is solved
    games: int | None = None  # in each cell of the payoff table; None: exact payoffs where the tree is known, or 100
    oracle_steps: Any = 1  # steps of the responder for each newcomer; may be a schedule over iterations
    start: str = FIRST  # member that a newcomer starts from: first, last, or likeliest in the meta-equilibrium
    refine: int = 0  # cells that are played again in an iteration, where the meta-equilibrium is most uncertain
    draws: int = 100  # of the bootstrap of the meta-equilibrium, where payoffs are sampled

    def __post_init__(self) -> None:
        check_choices("solver", self, meta=(*META, RECTIFIED), start=STARTS)
        check_population_fields(self)
        self.symmetric: bool | None = None  # whether all seats have the same members
        self.population: Population | None = None
        self.meta_game: MetaGame | None = None
        self.matches: MatchFile | None = None  # see `capabilities.PopulationSolver`

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the first member of each seat."""
        check_oracles(profile, responder, type(self).__name__)
        if self.meta == RECTIFIED and len(profile) != 2:
            raise ValueError(f"solver.meta=rectified is for two seats, not {len(profile)}; use solver.meta=nash")
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        population, symmetric = resume_population(self, profile, responder.game, after)
        meta_game = self.meta_game = self._meta_game(population, responder, runner)
        work = meta_game.open()
        for iteration in count(after + 1):
            oracles = [
                Oracle(
                    start_newcomers(population.members, meta_game.mixtures, self.start, symmetric),
                    seats,
                    Opponents([mix_members(population.members, mixtures)]),
                )
                for seats, mixtures in self.opponents(population, meta_game.mixtures)
            ]
            step = train_newcomers(responder, oracles, count_steps(self.oracle_steps, iteration), iteration, runner)
            again = self.meta == UNIFORM
            new = sum(population.grow(oracle.newcomers, oracle.seats, again=again) for oracle in oracles)
            work += step.work
            metrics, played = meta_game.complete(iteration)
            become_mixture(profile, population.members, meta_game.mixtures)
            metrics = step.metrics | metrics | {"newcomers": float(new)}
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work + played)
            work.clear()

    def opponents(self, population: Population, mixtures: Mixtures) -> Iterator[tuple[Sequence[int], Mixtures]]:
        """Yields the seats whose newcomers are trained, with the mixtures of all seats as opponents."""
        if self.meta == RECTIFIED:
            yield from rectify_mixtures(population.payoffs.mean, mixtures)
        else:
            yield range(len(mixtures)), mixtures

    def artefacts(self) -> list[Artefact]:
        """See `PopulationSolver`."""
        return [] if self.meta_game is None else self.meta_game.artefacts()

    def _meta_game(self, population: Population, responder: Responder, runner: Runner) -> MetaGame:
        """Returns the meta-game of a population."""
        method = META[NASH if self.meta == RECTIFIED else self.meta]
        return make_meta_game(self, population, responder, runner, lambda payoffs: product_joint(method(payoffs)))


def rectify_mixtures(mean: np.ndarray, mixtures: Mixtures) -> Iterator[tuple[Sequence[int], Mixtures]]:
    """Returns, for each member in the support, the opponents' mixture restricted to those to whom it does not lose.

    These are the opponents against whom it earns at least the payoff of the mixtures, which is 0 in symmetric zero-sum
    games, as in the paper.
    """
    for seat, payoff in ((0, mean[0]), (1, mean[1].T)):
        own, other = mixtures[seat], mixtures[1 - seat]
        for member in np.flatnonzero(own > LEAST):
            beaten = other * (payoff[member] >= own @ payoff @ other - LEAST)
            cut = beaten / beaten.sum()
            yield [seat], [own, cut] if seat == 0 else [cut, own]
