"""Anytime PSRO (APSRO): plays the mixture of members that the worst opponent in the whole game exploits least.

McAleer et al. 2022 (arXiv:2201.07700). The mixture of PSRO is an equilibrium among members only, so its exploitability
may grow with the population. Here the mixture of each seat is changed while a newcomer of the other seat is trained
against it, until newcomers gain no more. Its exploitability in the whole game is then as small as that of any mixture
of the members, up to the errors of newcomers, so a larger population can only help. The newcomers of the end join it,
or their latest versions that are not members yet. For two-player zero-sum games; `AnytimeDoubleOracle` computes this
mixture exactly, for tables.

The paper changes the mixture by a no-regret algorithm (`method=regret_matching`: regret matching+ with averages that
are linear in time, Tammelin 2014, arXiv:1407.5042). By default it is a linear program instead: the best mixture against
the other seat's members and all versions of the newcomer so far. A newcomer that has learned too little then does no
harm, where it misleads regret matching.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.evaluation.report import Artefact
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import become_mixture, mix_members
from marl_engine.populations.matches import MatchFile
from marl_engine.populations.measures import choose_measure
from marl_engine.populations.population import Cell, Measure, Population
from marl_engine.populations.uncertainty import product_joint
from marl_engine.responders.learners.learner import Learner, Training, train_learner
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Policy, Profile, Progress, Responder, Runner, Work
from solvers.normal_form.nash import zero_sum
from solvers.populations.anytime_double_oracle import is_zero_sum
from solvers.populations.meta_game import MetaGame, choose_games
from solvers.populations.oracles import (
    FIRST,
    LAST,
    check_oracles,
    check_steps,
    count_steps,
    resume_population,
    start_newcomers,
    tabulate_opponents,
)

Members = Sequence[Sequence[Policy]]  # of each seat


class LinearProgram:
    """The mixture (n,) of n members with the largest smallest payoff against K strategies, from payoffs (n, K)."""

    def __init__(self, payoffs: np.ndarray):
        self.payoffs = payoffs
        self.strategy, _ = zero_sum(payoffs)

    @property
    def result(self) -> np.ndarray:
        """Returns the mixture of the end."""
        return self.strategy

    def observe(self, payoffs: np.ndarray) -> None:
        """Adds a strategy, against which the members earn payoffs (n,)."""
        self.payoffs = np.column_stack([self.payoffs, payoffs])
        self.strategy, _ = zero_sum(self.payoffs)


class RegretMatching:
    """Regret matching+: `strategy` (n,) is the mixture of the next round. Of payoffs (n, K) only n counts."""

    def __init__(self, payoffs: np.ndarray):
        members = len(payoffs)
        self.strategy, self.regrets = np.full(members, 1 / members), np.zeros(members)
        self.total, self.rounds = np.zeros(members), 0

    @property
    def result(self) -> np.ndarray:
        """Returns the average of the mixtures, in which that of round t has weight t."""
        mean: np.ndarray = self.total / self.total.sum()
        return mean

    def observe(self, payoffs: np.ndarray) -> None:
        """Ends a round in which the members earned payoffs (n,)."""
        self.rounds += 1
        self.total += self.rounds * self.strategy
        self.regrets = np.maximum(self.regrets + payoffs - self.strategy @ payoffs, 0)
        if self.regrets.any():
            self.strategy = self.regrets / self.regrets.sum()


METHODS: dict[str, Any] = {"linear_program": LinearProgram, "regret_matching": RegretMatching}


@dataclass
class AnytimePSRO:
    """Plays against: mixtures of members that are exploited little. Anchored to: nothing. Yields the last of them.

    Raises ValueError for games that are not two-player zero-sum, an unknown method or start, and numbers out of range.
    """

    STATE = ("symmetric", "population")

    method: str = "linear_program"  # how mixtures are found; or regret_matching
    updates: int = 10  # of the mixtures in an iteration
    oracle_steps: Any = 1  # steps of the responder before each of them; may be a schedule over iterations
    games: int | None = None  # of each member with another or a newcomer; None: exact where the tree is known, or 100
    start: str = FIRST  # member that a newcomer starts from: first or last
    draws: int = 100  # of the bootstrap of what the mixture earns, where payoffs are sampled

    def __post_init__(self) -> None:
        check_choices("solver", self, method=METHODS, start=(FIRST, LAST))
        check_steps(self.oracle_steps)
        check_fields("solver", self, "updates", "draws", least=1, whole=True)
        if self.games is not None:
            check_fields("solver", self, "games", least=1, whole=True)
        self.symmetric: bool | None = None  # whether all seats have the same members
        self.population: Population | None = None
        self.meta_game: MetaGame | None = None
        self.matches: MatchFile | None = None  # see `capabilities.PopulationSolver`

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the first member of each seat."""
        check_oracles(profile, responder, type(self).__name__)
        if len(profile) != 2 or (responder.form is not None and not is_zero_sum(responder.form)):
            raise ValueError("AnytimePSRO is for two-player zero-sum games; PSRO is for others")
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        population, symmetric = resume_population(self, profile, responder.game, after)
        meta_game = self.meta_game = self._meta_game(population, responder, runner)
        games, measure = meta_game.games, meta_game.measure
        work = meta_game.open()
        for iteration in count(after + 1):
            members = tabulate_members(population.members, responder)
            own, other = population.payoffs.mean
            sides = [METHODS[self.method](payoffs) for payoffs in (own, other.T)]
            newcomers = start_newcomers(population.members, [side.strategy for side in sides], self.start, symmetric)
            versions = []
            for update in range(self.updates):
                opponents = Opponents([mix_members(members, [side.strategy for side in sides])])
                fixed = tabulate_opponents(responder.game, opponents, responder.device)
                steps = count_steps(self.oracle_steps, iteration)
                _, step = train_learner(Training(Learner(newcomers, responder), fixed, steps))
                versions += [freeze(newcomers)]
                cells = cells_of(members, versions[-1], responder, games, iteration * self.updates + update)
                payoffs = measure_members(members, cells, measure, runner)
                for side, earned in zip(sides, payoffs, strict=True):
                    side.observe(earned)
                work += step.work + Work(queries=len(cells))
            mixtures = [side.result for side in sides]
            gain = -sum(float(mixture @ earned) for mixture, earned in zip(mixtures, payoffs, strict=True))
            become_mixture(profile, population.members, mixtures)
            for seat in (0,) if symmetric else (0, 1):
                any(population.grow(version, [seat]) for version in reversed(versions))
            meta_game.solver = partial(pad_mixtures, mixtures)
            work += meta_game.open()
            metrics = step.metrics | meta_game.refine_solution(iteration)[0] | {"newcomers/gain": gain}
            yield Progress(iteration, profile, metrics | measure_nash_conv(responder, profile, iterate="mixture"), work)
            work = Work()

    def artefacts(self) -> list[Artefact]:
        """See `PopulationSolver`."""
        return [] if self.meta_game is None else self.meta_game.artefacts()

    def _meta_game(self, population: Population, responder: Responder, runner: Runner) -> MetaGame:
        """Returns the meta-game of a population. Its solution is the mixture of an iteration, whatever the payoffs."""
        games = choose_games(responder.game, self.games)
        measure = choose_measure(responder.game, games, responder.seed)
        first = partial(pad_mixtures, [np.ones(1)] * 2)
        settings = (games, 0, self.draws, responder.seed, self.matches)
        return MetaGame(population, measure, runner, first, f"anytime, {self.method}", *settings)


def pad_mixtures(mixtures: Sequence[np.ndarray], payoffs: np.ndarray) -> np.ndarray:
    """Returns the joint distribution (n_0, n_1) of mixtures, in which newer members have probability 0.

    The payoffs are (2, n_0, n_1).
    """
    sizes = zip(mixtures, payoffs.shape[1:], strict=True)
    return product_joint([np.pad(mixture, (0, size - len(mixture))) for mixture, size in sizes])


def tabulate_members(members: Members, responder: Responder) -> list[list[Policy]]:
    """Returns the members of each seat, as tables where they are functions of an information set."""
    longest = max(map(len, members))
    profiles = [[own[min(number, len(own) - 1)] for own in members] for number in range(longest)]
    tables = tabulate_opponents(responder.game, Opponents(profiles), responder.device).members
    return [[each[seat] for each in tables[: len(own)]] for seat, own in enumerate(members)]


def cells_of(members: Members, newcomers: Profile, responder: Responder, games: int | None, number: int) -> list[Cell]:
    """Returns the cells of all members, first those of seat 0, with the newcomer of the other seat.

    All members of a seat play the same deals, which are those of update `number`.
    """
    ((first, second),) = tabulate_opponents(responder.game, Opponents([newcomers]), responder.device).members
    cells = [Cell([own, second], 0, games, 2 * number) for own in members[0]]
    return cells + [Cell([first, own], 0, games, 2 * number + 1) for own in members[1]]


def measure_members(members: Members, cells: Sequence[Cell], measure: Measure, runner: Runner) -> list[np.ndarray]:
    """Returns what the members (n_p,) of each seat earn in their cells; see `cells_of`."""
    tallies = iter(runner.map(measure, cells))
    return [np.array([tally.mean[seat] for tally in islice(tallies, len(own))]) for seat, own in enumerate(members)]
