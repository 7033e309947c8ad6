"""Policy-space response oracles: answer the equilibrium of everything found so far, and add the answer.

Lanctot et al. 2017 (arXiv:1711.00832, Algorithm 1). In every iteration a newcomer of each seat is trained against the
others' mixture over their members, the cells of the payoff table that it opens are measured, and the meta-game that the
table is gets solved anew. With the Nash equilibrium of the meta-game it is the double oracle algorithm (McMahan, Gordon
and Blum 2003); with the uniform distribution it is fictitious play, and there alone an answer that is given again
becomes a member again. `rectified` (Balduzzi et al. 2019, arXiv:1901.08106, Algorithm 4) trains a newcomer beside each
member that the equilibrium plays, against those opponents alone that this member does not lose to.

A newcomer is learned from where the first member began, in `oracle_steps` steps of the responder; an exact responder
needs one step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Any

import numpy as np
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.errors import Refused
from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.population_mixture import become_mixture, begin_newcomers, mix_members
from marl_engine.policies.strategy import extract_strategy
from marl_engine.populations.population import Cell, Population, support
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.rollout import score
from marl_engine.runners import LOCAL
from marl_engine.types import Game, Opponents, Profile, Progress, Responder, Runner, Work
from solvers.cfr.tree_sampling import Paths, paths
from solvers.normal_form.catalogue import META
from solvers.populations.tree_rollouts import played

NASH, UNIFORM, RECTIFIED = "nash", "uniform", "rectified"
LEAST = 1e-6  # weight of a member that counts as played
CELLS = 2**41  # sets the games that fill cells apart from those that are learned from and scored

Mixtures = list[np.ndarray]  # of the members of each seat
Payoffs = tuple[np.ndarray, float]  # (P,) and of how many games they are the mean; infinite where they are exact


@dataclass
class PSRO:
    """Plays against: the meta-equilibrium of its population. Anchored to: nothing. Yields that equilibrium.

    Raises ValueError for a meta-solver that is none, and for numbers below 1.
    """

    meta: str = NASH  # how the meta-game is solved
    games: int | None = None  # that a cell of the payoff table is the mean of; null: exact payoffs
    oracle_steps: int = 1  # of the responder, towards each newcomer

    def __post_init__(self) -> None:
        if self.meta not in (*META, RECTIFIED):
            raise ValueError(f"solver.meta must be one of {', '.join([*META, RECTIFIED])}, not {self.meta!r}")
        check_fields("solver", self, "oracle_steps", least=1, whole=True)
        if self.games is not None:  # else payoffs are exact
            check_fields("solver", self, "games", least=1, whole=True)
        self.population: Population | None = None
        self.saved: Mapping[str, Any] = {}
        self.paths: Paths | None = None  # of a tree, where games are played fast

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the first member of each seat."""
        check_supports(responder, type(self).__name__, "opponents")
        mix_members([[policy] for policy in profile], [[1.0]] * len(profile))  # raises for policies without mixtures
        if self.games is None and capabilities_of(responder.game).extensive is None:
            raise ValueError(f"{type(responder.game).__name__} has no exact payoffs; set solver.games, such as 1000")
        if self.meta == RECTIFIED and len(profile) != 2:
            raise ValueError(f"solver.meta=rectified is for two seats, not {len(profile)}; use solver.meta=nash")
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        state = self.state() or self.saved
        population = self.population = Population(len(profile))
        game = capabilities_of(responder.game).tree if self.games else None
        self.paths = None if game is None else paths(game.tree, game.form)
        work = Work()
        if after and state:
            population.restore(begin_newcomers(profile), state)
        else:
            population.grow(profile)
            work = self.fill(population, responder, runner)
        mixtures = self.solved(population)
        for iteration in count(after + 1):
            new, earlier = 0, [*map(list, population.members)]
            for seats, opponents in self.opponents(population, mixtures):
                newcomers = begin_newcomers([members[0] for members in earlier])
                mixture = Opponents([mix_members(earlier, opponents)])
                for _ in range(self.oracle_steps):
                    work += responder.respond(newcomers, mixture).work
                new += population.grow(newcomers, seats, again=self.meta == UNIFORM)
            work += self.fill(population, responder, runner)
            mixtures = self.solved(population)
            become_mixture(profile, population.members, mixtures)
            metrics = {
                "members": float(np.mean(population.sizes)),
                "newcomers": float(new),
                "support": support(mixtures),
            }
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work)
            work = Work()

    def state(self) -> dict[str, Any]:
        """Returns the population for a checkpoint."""
        return {} if self.population is None else self.population.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self.population, self.saved = None, state

    def solved(self, population: Population) -> Mixtures:
        """A mixture (n_p,) over the members of each seat p. Raises Refused where the meta-solver takes no more."""
        try:
            return META[NASH if self.meta == RECTIFIED else self.meta](population.mean)
        except ValueError as error:
            raise Refused(f"solver.meta={self.meta}: {error}") from error

    def opponents(self, population: Population, mixtures: Mixtures) -> Iterator[tuple[Sequence[int], Mixtures]]:
        """Whose newcomers are trained, and against whom: mixtures of all seats."""
        if self.meta == RECTIFIED:
            yield from rectified(population.mean, mixtures)
        else:
            yield range(len(mixtures)), mixtures

    def fill(self, population: Population, responder: Responder, runner: Runner) -> Work:
        """Measures the cells of the payoff table that are empty: a query each."""
        return Work(queries=population.fill(runner, self.measure(responder)))

    def measure(self, responder: Responder) -> Callable[[Cell], Payoffs]:
        """What measures a cell: the sequence form, or games, played on the tree where there is one."""
        if self.games is None:
            return partial(exact_payoffs, game=responder.game)
        sampled = partial(sampled_payoffs, game=responder.game, seed=responder.seed, games=self.games)
        return sampled if self.paths is None else partial(tree_payoffs, paths=self.paths, **sampled.keywords)


def exact_payoffs(cell: Cell, game: ExtensiveGame) -> Payoffs:
    """The payoffs (P,) of a cell in expectation."""
    return expected_payoffs(game.form, realization_plan(game.form, extract_strategy(game, cell.members))), inf


def sampled_payoffs(cell: Cell, game: Game, seed: int, games: int) -> Payoffs:
    """The mean payoffs (P,) of a cell in so many games."""
    return score(deepcopy(game), cell.members, cell_seeds(cell, seed, games)).double().mean(0).numpy(), games


def tree_payoffs(cell: Cell, paths: Paths, game: ExtensiveGame, seed: int, games: int) -> Payoffs:
    """The same, of games that are played on their tree."""
    seeds = cell_seeds(cell, seed, games).numpy().view(np.uint64)
    return played(paths, extract_strategy(game, cell.members), seeds).mean(0), games


def cell_seeds(cell: Cell, seed: int, games: int) -> Tensor:
    """Seeds (games,) of the games of a cell."""
    return derive_seeds(seed + CELLS * (cell.number + 1), games)


def rectified(mean: np.ndarray, mixtures: Mixtures) -> Iterator[tuple[Sequence[int], Mixtures]]:
    """For each member that is played, the opponents' mixture cut to those that it does not lose to.

    That is, against whom it earns no less than the mixtures earn; in symmetric zero-sum games, 0 as in the paper.
    """
    for seat, payoff in ((0, mean[0]), (1, mean[1].T)):
        own, other = mixtures[seat], mixtures[1 - seat]
        for member in np.flatnonzero(own > LEAST):
            beaten = other * (payoff[member] >= own @ payoff @ other - LEAST)
            cut = beaten / beaten.sum()
            yield [seat], [own, cut] if seat == 0 else [cut, own]
