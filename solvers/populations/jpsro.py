"""Joint PSRO (JPSRO): PSRO for any number of players, with a correlated meta-equilibrium.

Marris et al. 2021 (arXiv:2106.09435, Algorithm 1). The meta-solver returns a joint distribution over combinations of
members, from which no seat gains by deviating: a correlated equilibrium (CE) or a coarse one (CCE). A correlation
device draws a combination when a game opens. With CCE, each seat gets one newcomer, trained against the others' part of
the joint distribution. With CE, it gets one for each of its members in the support, trained against the others given
that this member was recommended. If no newcomer gains, the joint distribution is such an equilibrium of the whole game.
Of the many equilibria the one with the largest Gini impurity, entropy or sum of payoffs is selected; the first two are
unique.

A profile has a policy for each seat, and no correlation device. The run's profile plays the marginals: each seat draws
its own member. The gap of the joint distribution is the metric `cce_gap` or `ce_gap`, and a resumed run solves
the joint distribution again from the table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from marl_engine.evaluation.correlated import correlated_gap
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.evaluation.report import Artefact
from marl_engine.numerics.checks import check_choices
from marl_engine.policies.mixtures.population import become_mixture
from marl_engine.populations.matches import MatchFile
from marl_engine.populations.population import Population
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Opponents, Policy, Profile, Progress, Responder, Runner
from solvers.normal_form.correlated import correlated_equilibrium, max_entropy_correlated, max_gini_correlated
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

CCE, CE = KINDS = "cce", "ce"
SELECTIONS: dict[str, Callable[..., np.ndarray]] = {
    "max_gini": max_gini_correlated,
    "max_entropy": max_entropy_correlated,
    "max_welfare": correlated_equilibrium,
}
LEAST = 1e-6  # smallest weight in a support

Members = Sequence[Sequence[Policy]]  # of each seat


@dataclass
class JPSRO:
    """Plays against: the others' part of a correlated meta-equilibrium. Anchored to: nothing. Yields its marginals.

    Raises ValueError for an unknown meta-solver, selection or start, and for numbers out of range.
    """

    STATE = ("symmetric", "population")

    meta: str = CCE  # or ce
    select: str = "max_gini"  # among the equilibria: or max_entropy, max_welfare
    games: int | None = None  # in each cell of the payoff table; None: exact payoffs where the tree is known, or 100
    oracle_steps: Any = 1  # steps of the responder for each newcomer; may be a schedule over iterations
    start: str = FIRST  # member that a newcomer starts from: first, last, or likeliest in the meta-equilibrium
    refine: int = 0  # cells that are played again in an iteration, where the meta-equilibrium is most uncertain
    draws: int = 100  # of the bootstrap of the meta-equilibrium, where payoffs are sampled

    def __post_init__(self) -> None:
        check_choices("solver", self, meta=KINDS, select=SELECTIONS, start=STARTS)
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
                    joint_opponents(population.members, joint),
                )
                for seats, joint in self.opponents(meta_game.joint)
            ]
            step = train_newcomers(responder, oracles, count_steps(self.oracle_steps, iteration), iteration, runner)
            new = sum(population.grow(oracle.newcomers, oracle.seats) for oracle in oracles)
            work += step.work
            metrics, played = meta_game.complete(iteration)
            become_mixture(profile, population.members, meta_game.mixtures)
            metrics = step.metrics | metrics | {"newcomers": float(new)} | self._gap(responder, meta_game)
            distance = measure_nash_conv(responder, profile, iterate="marginals")
            yield Progress(iteration, profile, metrics | distance, work + played)
            work.clear()

    def opponents(self, joint: np.ndarray) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Yields the seats whose newcomers are trained, with the joint distribution (n_0, n_1, …) that they meet."""
        if self.meta == CCE:
            yield range(joint.ndim), joint
            return
        for seat in range(joint.ndim):
            rows = np.moveaxis(joint, seat, 0)
            for member in np.flatnonzero(rows.reshape(len(rows), -1).sum(1) > LEAST):
                recommended = np.zeros_like(rows)
                recommended[member] = rows[member] / rows[member].sum()
                yield [seat], np.moveaxis(recommended, 0, seat)

    def artefacts(self) -> list[Artefact]:
        """See `PopulationSolver`."""
        return [] if self.meta_game is None else self.meta_game.artefacts()

    def _gap(self, responder: Responder, meta_game: MetaGame) -> Metrics:
        """Returns the gap of the joint distribution in the whole game, if the responder has its sequence form."""
        if responder.form is None:
            return {}
        gap = correlated_gap(responder.game, meta_game.population.members, meta_game.joint, self.meta == CE)
        return {f"{self.meta}_gap": gap}

    def _meta_game(self, population: Population, responder: Responder, runner: Runner) -> MetaGame:
        """Returns the meta-game of a population."""
        method = SELECTIONS[self.select]
        return make_meta_game(self, population, responder, runner, lambda payoffs: method(payoffs, self.meta))


def joint_opponents(members: Members, joint: np.ndarray) -> Opponents:
    """Returns the combinations of members in the support of a joint distribution (n_0, n_1, …), with their weights."""
    places = np.argwhere(joint > LEAST)
    profiles = [[own[number] for own, number in zip(members, place, strict=True)] for place in places.tolist()]
    weights = joint[tuple(places.T)]
    return Opponents(profiles, (weights / weights.sum()).tolist())
