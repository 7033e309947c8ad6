"""Pipeline PSRO (P2SRO): several responses learn at once, each against the equilibrium of all below it.

McAleer et al. 2020, "Pipeline PSRO" (arXiv:2006.08555, Algorithm 2). The population is a ladder. Its lower part is
fixed; on each of the `active` levels above, a policy of every seat still learns:

    Loop:
        For each active level, from the lowest one up:
            Take the meta-equilibrium of all levels below, the fixed and the active ones.
            Train the policies of this level against it.
        If the lowest active level has reached a plateau:
            It is fixed. A new active level begins above all others.
    The result is the meta-equilibrium of the whole ladder.

A level that becomes the lowest one has learned against nearly the opponents that it has now, so it needs few further
steps; with one active level this is PSRO. In each iteration opponents are the policies of its beginning, so the levels
are jobs that do not depend on each other, and a runner with workers trains them at the same time. Departures: they wait
for each other at the end of an iteration, and a plateau is measured by what the lowest level gains against the
equilibrium below it, in the payoff table.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.evaluation.report import Artefact
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.state import resume_field, set_fields
from marl_engine.policies.mixtures.population import become_mixture, begin_newcomers, mix_members
from marl_engine.populations.matches import MatchFile
from marl_engine.populations.population import Population
from marl_engine.populations.uncertainty import marginals, product_joint
from marl_engine.responders.learners.learner import Learner, Training, number_learner, train_learners
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Progress, Responder, Runner, Work
from solvers.normal_form.catalogue import META
from solvers.populations.meta_game import MetaGame, check_population_fields, gain_of_newcomers, make_meta_game
from solvers.populations.oracles import check_oracles, count_steps, resume_population, tabulate_opponents


class Level:
    """An active level: a policy of each seat that learns, and what it gained against the equilibrium below it."""

    STATE = ("learner", "number", "best", "waited")

    def __init__(self, first: Profile, responder: Any, number: int):
        self.first, self.shared, self.number = first, responder, number
        self.learner = (
            Learner(begin_newcomers(first), responder)  # an exact one, which has learned nothing to keep
            if vars(responder).get("network") is None
            else number_learner(responder, number)
        )
        self.best, self.waited = 0.0, 0  # largest gain as the lowest level, and iterations since it grew

    def stalls(self, gain: float, progress: float, patience: int) -> bool:
        """Whether its gain has grown by no more than `progress` for `patience` iterations."""
        grows = gain > self.best + progress
        self.best, self.waited = (gain, 0) if grows else (self.best, self.waited + 1)
        return self.waited >= patience

    def restore(self, state: Mapping[str, Any]) -> None:
        """Makes the policies with the saved number, and restores all; see `set_state`."""
        vars(self).update(vars(Level(self.first, self.shared, state["number"])))
        set_fields(self, state)


@dataclass
class PipelinePSRO:
    """Plays against: the meta-equilibria of lower levels. Anchored to: nothing. Yields that of the whole ladder.

    Raises ValueError for an unknown meta-solver, and for numbers out of range.
    """

    STATE = ("symmetric", "population", "levels")

    meta: str = "nash"  # how the meta-game is solved
    active: int = 3  # levels that learn at once
    progress: float = 0.02  # growth of the gain of the lowest level that counts as progress
    patience: int = 3  # iterations without progress after which the lowest level is fixed
    games: int | None = None  # in each cell of the payoff table; None: exact payoffs where the tree is known, or 100
    oracle_steps: Any = 1  # steps of the responder for each level in an iteration; may be a schedule over iterations
    refine: int = 0  # cells that are played again in an iteration, where the meta-equilibrium is most uncertain
    draws: int = 100  # of the bootstrap of the meta-equilibrium, where payoffs are sampled

    def __post_init__(self) -> None:
        check_choices("solver", self, meta=tuple(META))
        check_fields("solver", self, "active", "patience", least=1, whole=True)
        check_fields("solver", self, "progress", least=0)
        check_population_fields(self)
        self.symmetric: bool | None = None  # whether all seats have the same members
        self.population: Population | None = None  # the fixed levels
        self.levels: list[Level] | None = None  # the active ones, the lowest first
        self.meta_game: MetaGame | None = None  # of the ladder
        self.matches: MatchFile | None = None  # see `capabilities.PopulationSolver`

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the first member of each seat."""
        check_oracles(profile, responder, type(self).__name__)
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        fixed, _ = resume_population(self, profile, responder.game, after)
        first = [each[0] for each in fixed.members]
        fresh = [Level(first, responder, number) for number in range(self.active)]
        levels = resume_field(self, "levels", fresh, after)
        ladder, work = self.climb(fixed, levels, responder, runner)
        for iteration in count(after + 1):
            steps = count_steps(self.oracle_steps, iteration)
            jobs = [
                Training(level.learner, opponents_below(ladder, len(levels) - place, responder), steps)
                for place, level in enumerate(levels)
            ]
            for level, (learner, step) in zip(levels, train_learners(jobs, runner), strict=True):
                level.learner, work = learner, work + step.work
            ladder, played = self.climb(fixed, levels, responder, runner)
            gain = gain_of_lowest(ladder, len(levels))
            if levels[0].stalls(gain, self.progress, self.patience):
                fixed.grow(levels[0].learner.profile)
                levels[:] = [*levels[1:], Level(first, responder, levels[-1].number + 1)]
                ladder, again = self.climb(fixed, levels, responder, runner)
                played += again
            metrics, again = ladder.refine_solution(iteration)
            self.meta_game = ladder
            become_mixture(profile, ladder.population.members, ladder.mixtures)
            metrics = step.metrics | metrics | {"lowest/gain": gain, "fixed": float(np.mean(fixed.sizes))}
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work + played + again)
            work = Work()

    def climb(
        self, fixed: Population, levels: list[Level], responder: Responder, runner: Runner
    ) -> tuple[MetaGame, Work]:
        """Returns the solved meta-game of fixed and active levels, and the number of cells that were played."""
        table = self._meta_game(fixed, responder, runner)
        work = Work(queries=fixed.fill(runner, table.measure, table.games, self.matches))
        population = Population(len(fixed.members), fixed.payoffs.symmetric)
        population.members, population.payoffs = [list(each) for each in fixed.members], deepcopy(fixed.payoffs)
        for level in levels:
            population.grow(level.learner.profile, again=True)
        ladder = self._meta_game(population, responder, runner)
        return ladder, work + ladder.open()

    def artefacts(self) -> list[Artefact]:
        """See `PopulationSolver`."""
        return [] if self.meta_game is None else self.meta_game.artefacts()

    def _meta_game(self, population: Population, responder: Responder, runner: Runner) -> MetaGame:
        """Returns the meta-game of a population."""
        method = META[self.meta]
        return make_meta_game(self, population, responder, runner, lambda payoffs: product_joint(method(payoffs)))


def equilibrium_below(ladder: MetaGame, levels: int) -> np.ndarray:
    """Returns the meta-equilibrium (n_0, n_1, …) without the highest levels, whose number is given."""
    return ladder.solve(cut_table(ladder, levels))


def cut_table(ladder: MetaGame, levels: int) -> np.ndarray:
    """Returns the payoffs (P, n_0, n_1, …) of a ladder without its highest levels."""
    sizes = ladder.population.sizes
    return ladder.population.payoffs.mean[(slice(None), *(slice(size - levels) for size in sizes))]


def opponents_below(ladder: MetaGame, levels: int, responder: Responder) -> Opponents:
    """Returns the meta-equilibrium without the highest levels as opponents."""
    mixtures = marginals(equilibrium_below(ladder, levels))
    members = [own[: len(mixture)] for own, mixture in zip(ladder.population.members, mixtures, strict=True)]
    return tabulate_opponents(responder.game, Opponents([mix_members(members, mixtures)]), responder.device)


def gain_of_lowest(ladder: MetaGame, levels: int) -> float:
    """Returns what the lowest of the active levels gains against the equilibrium below it, summed over the seats."""
    return gain_of_newcomers(cut_table(ladder, levels - 1), equilibrium_below(ladder, levels))
