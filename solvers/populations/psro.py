"""Policy-space response oracles (PSRO): adds responses to the meta-equilibrium of a population.

Lanctot et al. 2017 (arXiv:1711.00832, Algorithm 1). In every iteration a newcomer of each seat is trained against the
mixtures of the other seats' members, the new cells of the payoff table are measured, and the meta-game of this table is
solved again. With the Nash equilibrium of the meta-game this is the double oracle algorithm (McMahan, Gordon and Blum
2003). With the uniform distribution it is fictitious play, and only then a response that is a member already is added
again. `rectified` (Balduzzi et al. 2019, arXiv:1901.08106, Algorithm 4) trains a newcomer for each member in the
support, only against opponents to whom this member does not lose.

A newcomer starts from the first member, and is trained for `oracle_steps` steps of the responder; an exact responder
needs one step.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf

import numpy as np
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.errors import Refused
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.paths import Paths, paths, play_games
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.population import become_mixture, begin_newcomers, mix_members
from marl_engine.policies.strategy import extract_strategy
from marl_engine.populations.population import Cell, Population, support
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.rollout import score
from marl_engine.runners import LOCAL
from marl_engine.types import Game, Opponents, Profile, Progress, Responder, Runner, Work
from solvers.normal_form.catalogue import META

NASH, UNIFORM, RECTIFIED = "nash", "uniform", "rectified"
LEAST = 1e-6  # smallest weight in a support
CELLS = 2**41  # separates games of cells from those of learning and scoring

Mixtures = list[np.ndarray]  # of the members of each seat
Payoffs = tuple[np.ndarray, float]  # mean payoffs (P,) and the number of games; infinite if exact


@dataclass
class PSRO:
    """Plays against: the meta-equilibrium of its population. Anchored to: nothing. Yields that equilibrium.

    Raises ValueError for an unknown meta-solver, and for numbers below 1.
    """

    STATE = ("population",)

    meta: str = NASH  # how the meta-game is solved
    games: int | None = None  # in each cell of the payoff table; null: exact payoffs
    oracle_steps: int = 1  # steps of the responder for each newcomer

    def __post_init__(self) -> None:
        if self.meta not in (*META, RECTIFIED):
            raise ValueError(f"solver.meta must be one of {', '.join([*META, RECTIFIED])}, not {self.meta!r}")
        check_fields("solver", self, "oracle_steps", least=1, whole=True)
        if self.games is not None:  # otherwise payoffs are exact
            check_fields("solver", self, "games", least=1, whole=True)
        self.population: Population | None = None
        self.paths: Paths | None = None  # of a tree, where games are played fast

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the first member of each seat."""
        check_supports(responder, type(self).__name__, "opponents", "mixtures")
        mix_members([[policy] for policy in profile], [[1.0]] * len(profile))  # raises for policies without mixtures
        if self.games is None and capabilities_of(responder.game).extensive is None:
            raise ValueError(f"{type(responder.game).__name__} has no exact payoffs; set solver.games, such as 1000")
        if self.meta == RECTIFIED and len(profile) != 2:
            raise ValueError(f"solver.meta=rectified is for two seats, not {len(profile)}; use solver.meta=nash")
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        population = Population(len(profile))
        population.grow(begin_newcomers(profile))
        population = resume_field(self, "population", population, after)
        game = capabilities_of(responder.game).tree if self.games else None
        self.paths = None if game is None else paths(game.tree, game.form)
        work = self.fill(population, responder, runner)
        mixtures = self.solve_meta_game(population)
        for iteration in count(after + 1):
            new, earlier = 0, [*map(list, population.members)]
            for seats, opponents in self.opponents(population, mixtures):
                newcomers = begin_newcomers([members[0] for members in earlier])
                mixture = Opponents([mix_members(earlier, opponents)])
                for _ in range(self.oracle_steps):
                    work += responder.respond(newcomers, mixture).work
                new += population.grow(newcomers, seats, again=self.meta == UNIFORM)
            work += self.fill(population, responder, runner)
            mixtures = self.solve_meta_game(population)
            become_mixture(profile, population.members, mixtures)
            metrics = {
                "members": float(np.mean(population.sizes)),
                "newcomers": float(new),
                "support": support(mixtures),
            }
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work)
            work = Work()

    def solve_meta_game(self, population: Population) -> Mixtures:
        """Returns the mixture (n_p,) of each seat p over its members.

        Raises Refused if the meta-solver cannot solve the game.
        """
        try:
            return META[NASH if self.meta == RECTIFIED else self.meta](population.mean)
        except ValueError as error:
            raise Refused(f"solver.meta={self.meta}: {error}") from error

    def opponents(self, population: Population, mixtures: Mixtures) -> Iterator[tuple[Sequence[int], Mixtures]]:
        """Yields the seats whose newcomers are trained, with the mixtures of all seats as opponents."""
        if self.meta == RECTIFIED:
            yield from rectify_mixtures(population.mean, mixtures)
        else:
            yield range(len(mixtures)), mixtures

    def fill(self, population: Population, responder: Responder, runner: Runner) -> Work:
        """Measures the empty cells of the payoff table, one query each."""
        return Work(queries=population.fill(runner, self.measure(responder)))

    def measure(self, responder: Responder) -> Callable[[Cell], Payoffs]:
        """Returns the function that measures a cell: exactly, or by games, on the tree if there is one."""
        if self.games is None:
            return partial(exact_payoffs, game=responder.game)
        sampled = partial(sampled_payoffs, game=responder.game, seed=responder.seed, games=self.games)
        return sampled if self.paths is None else partial(tree_payoffs, paths=self.paths, **sampled.keywords)


def exact_payoffs(cell: Cell, game: ExtensiveGame) -> Payoffs:
    """Returns the expected payoffs (P,) of a cell."""
    return expected_payoffs(game.form, realization_plan(game.form, extract_strategy(game, cell.members))), inf


def sampled_payoffs(cell: Cell, game: Game, seed: int, games: int) -> Payoffs:
    """Returns the mean payoffs (P,) of a cell in a number of games."""
    return score(deepcopy(game), cell.members, cell_seeds(cell, seed, games)).double().mean(0).numpy(), games


def tree_payoffs(cell: Cell, paths: Paths, game: ExtensiveGame, seed: int, games: int) -> Payoffs:
    """Returns the same for games played on their tree."""
    seeds = cell_seeds(cell, seed, games).numpy().view(np.uint64)
    return play_games(paths, extract_strategy(game, cell.members), seeds).mean(0), games


def cell_seeds(cell: Cell, seed: int, games: int) -> Tensor:
    """Returns the seeds (games,) of a cell."""
    return derive_seeds(seed + CELLS * (cell.number + 1), games)


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
