"""The meta-game of a population: its members are the actions, and the payoff table has the payoffs.

Solvers that grow a population (PSRO and its relatives) differ in who is trained against whom. What they share is here:
missing cells of the table are played, the meta-game is solved, and the cells on which the solution depends most are
played again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Halted, Refused
from marl_engine.evaluation.report import Artefact
from marl_engine.numerics.checks import check_fields
from marl_engine.populations.matches import MatchFile
from marl_engine.populations.measures import choose_measure
from marl_engine.populations.population import Measure, Population, support
from marl_engine.populations.summary import summarise
from marl_engine.populations.uncertainty import Uncertainty, bootstrap, marginals, most_uncertain
from marl_engine.types import Game, Metrics, Responder, Runner, Work
from solvers.normal_form.correlated import cce_regrets
from solvers.populations.oracles import check_steps

GAMES = 100  # of each cell, where payoffs are not exact and the number is not given


class PopulationFields(Protocol):
    """The fields that solvers which grow a population have in common."""

    meta: str  # how the meta-game is solved
    games: int | None  # in each cell of the payoff table; None: exact payoffs where the tree is known, or GAMES
    oracle_steps: Any  # steps of the responder for each newcomer
    refine: int  # cells that are played again in an iteration
    draws: int  # of the bootstrap
    matches: MatchFile | None  # where matches are kept


def choose_games(game: Game, games: int | None) -> int | None:
    """Returns the number of games of a cell; None if payoffs are exact, as is the default where the tree is known."""
    return GAMES if games is None and capabilities_of(game).extensive is None else games


@dataclass
class MetaGame:
    """A population with the solution of its meta-game.

    `solver` returns a joint distribution for payoffs; `name` is its name, for messages.
    """

    population: Population
    measure: Measure
    runner: Runner
    solver: Callable[[np.ndarray], np.ndarray]
    name: str
    games: int | None  # of each cell; None: payoffs are exact
    refine: int  # cells that are played again in an iteration
    draws: int  # of the bootstrap
    seed: int
    matches: MatchFile | None
    joint: np.ndarray = field(init=False)  # (n_0, n_1, …) the solution
    uncertainty: Uncertainty | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.joint = np.zeros([0] * len(self.population.sizes))

    @property
    def mixtures(self) -> list[np.ndarray]:
        """Returns the distribution (n_p,) over the members of each seat in the solution."""
        return marginals(self.joint)

    def open(self) -> Work:
        """Plays the cells that are empty and solves the meta-game; returns the number of cells that were played."""
        played = self.population.fill(self.runner, self.measure, self.games, self.matches)
        self.joint = self.solve(self.population.payoffs.mean)
        return Work(queries=played)

    def complete(self, iteration: int) -> tuple[Metrics, Work]:
        """Plays the cells of newcomers, solves the meta-game, and plays the most uncertain cells again.

        Returns metrics and the number of cells that were played. Raises what `solve` raises.
        """
        before, work = self.joint, self.open()
        gain = gain_of_newcomers(self.population.payoffs.mean, before)
        metrics, again = self.refine_solution(iteration)
        return metrics | {"newcomers/gain": gain}, work + again

    def refine_solution(self, iteration: int) -> tuple[Metrics, Work]:
        """Measures how uncertain the solution is, and plays the most uncertain cells again.

        Returns metrics and the number of cells that were played. Raises what `solve` raises.
        """
        payoffs, work = self.population.payoffs, Work(queries=0)
        generator = np.random.default_rng((self.seed, iteration))
        self.uncertainty = bootstrap(payoffs, self.solve, self.joint, self.draws, generator)
        if self.refine and self.games is not None:
            places = most_uncertain(payoffs, self.uncertainty.importance, self.games, self.refine)
            work["queries"] += self.population.play(places, self.runner, self.measure, self.games, self.matches)
            self.joint = self.solve(payoffs.mean)
            self.uncertainty = bootstrap(payoffs, self.solve, self.joint, self.draws, generator)
        return self.metrics(self.uncertainty), work

    def solve(self, payoffs: np.ndarray) -> np.ndarray:
        """Returns the solution (n_0, n_1, …) of payoffs (P, n_0, n_1, …).

        Raises Refused if the meta-solver does not take such payoffs, and Halted if it fails.
        """
        try:
            return self.solver(payoffs)
        except ValueError as error:
            raise Refused(f"solver.meta={self.name}: {error}") from error
        except RuntimeError as error:
            raise Halted(f"solver.meta={self.name}: {error}; choose another way to solve the meta-game") from error

    def artefacts(self) -> list[Artefact]:
        """Returns what is written about the population; nothing if no iteration was completed."""
        if self.uncertainty is None:
            return []
        return summarise(self.population, self.uncertainty, self.name, self.games is not None)

    def metrics(self, uncertainty: Uncertainty) -> Metrics:
        """Returns the size of the population and the value of the meta-game, with its interval if it is uncertain."""
        value = uncertainty.value
        metrics = {"members": float(np.mean(self.population.sizes)), "support": support(self.mixtures)}
        for seat, number in enumerate(value.estimate):
            metrics[f"meta/value/{seat}"] = float(number)
            if self.games is not None:
                metrics |= {
                    f"meta/value/{seat}/low": float(value.low[seat]),
                    f"meta/value/{seat}/high": float(value.high[seat]),
                }
        return metrics if self.games is None else metrics | {"meta/uncertainty": uncertainty.distance}


def gain_of_newcomers(payoffs: np.ndarray, joint: np.ndarray) -> float:
    """Returns the sum over seats of what the best newcomer gains against the solution before it came.

    Payoffs are (P, n_0, n_1, …), and the joint distribution has fewer members or as many. In a two-player game this is
    a lower bound of the NashConv of that solution, up to errors of sampled payoffs.
    """
    margins = [(0, new - old) for new, old in zip(payoffs.shape[1:], joint.shape, strict=True)]
    return float(cce_regrets(payoffs, np.pad(joint, margins)).sum())


def make_meta_game(
    solver: PopulationFields,
    population: Population,
    responder: Responder,
    runner: Runner,
    method: Callable[[np.ndarray], np.ndarray],
) -> MetaGame:
    """Returns the meta-game of a solver's population, solved by a method that returns joint distributions."""
    games = choose_games(responder.game, solver.games)
    measure = choose_measure(responder.game, games, responder.seed)
    return MetaGame(
        population,
        measure,
        runner,
        method,
        solver.meta,
        games,
        solver.refine,
        solver.draws,
        responder.seed,
        solver.matches,
    )


def check_population_fields(solver: PopulationFields) -> None:
    """Raises ValueError for fields of a solver that grows a population, if they are out of range."""
    check_steps(solver.oracle_steps)
    check_fields("solver", solver, "draws", least=1, whole=True)
    check_fields("solver", solver, "refine", least=0, whole=True)
    if vars(solver)["games"] is not None:  # otherwise the number is chosen by the game
        check_fields("solver", solver, "games", least=1, whole=True)
