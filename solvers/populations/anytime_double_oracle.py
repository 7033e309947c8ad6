"""Anytime double oracle: plays the mixture of members that the worst opponent in the whole game exploits least.

McAleer et al. 2022 (arXiv:2201.07700, section 4). The mixture of double oracle is an equilibrium among members only, so
its exploitability may grow with the population. Here the opponent is not restricted to members, so that a larger
population can only help. The paper approximates the mixture by regret minimisation against best responses; here it is
exact: best responses are added to a linear program until they gain nothing. For two-player zero-sum games.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.regularised import greedy_strategy
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    backup_best_values,
    entry_sequences,
    gradient_of,
    owners,
    realization_plan,
)
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.tabular import average_strategy, fill_tables, table_plan
from marl_engine.populations.population import Population, support
from marl_engine.responders.exact import ExactResponder
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Runner, Work
from solvers.normal_form.nash import zero_sum

LEAST = 1e-6  # smallest weight in a support
ROUNDING = 1e-9  # of payoffs


class Cuts(NamedTuple):
    """C strategies of the opponent, and the payoffs of the own sequences against each, of which the first is empty."""

    earned: np.ndarray  # (C, 1 + own)
    answer: np.ndarray  # (C, S)


@dataclass
class AnytimeDoubleOracle:
    """Plays against: everything. Anchored to: nothing. Yields the mixture that is exploited least.

    Raises ValueError for games that are not two-player zero-sum, and for a tolerance that is not above 0.
    """

    STATE = ("population", "cuts")

    tolerance: float = 1e-6  # tolerance of mixtures, relative to the largest payoff

    def __post_init__(self) -> None:
        check_fields("solver", self, "tolerance", above=0)
        self.population: Population | None = None
        self.cuts: list[Cuts] | None = None  # of each seat

    def solve(
        self, profile: Profile, responder: ExactResponder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile consists of tables, which are the first members."""
        if not is_zero_sum(responder.form):
            raise ValueError("AnytimeDoubleOracle is for two-player zero-sum games; PSRO is for others")
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        form, members = responder.form, Population(2)
        members.grow(profile)
        members = resume_field(self, "population", members, after)
        cuts = resume_field(self, "cuts", [empty_cuts(form, seat) for seat in (0, 1)], after)
        for iteration in count(after + 1):
            before, mixtures, answers = count_cuts(cuts), [], []
            for seat, side in enumerate(members.members):
                mixture, exploiters, cuts[seat] = solve_mixture(form, seat, side, cuts[seat], self.tolerance)
                mixtures.append(mixture)
                answers.append(exploiters)
            newcomers = freeze(profile)
            fill_tables(profile, average_strategy(members.members, mixtures))
            for seat in (1, 0):
                add_new_member(members, newcomers, seat, answers[1 - seat])
            work = Work(queries=count_cuts(cuts) - before)
            metrics = {"members": float(np.mean([len(mixture) for mixture in mixtures])), "support": support(mixtures)}
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work)


def empty_cuts(form: SequenceForm, seat: int) -> Cuts:
    """Returns no cuts (0, …) of a seat."""
    own = owners(form) == seat  # with the empty sequence
    return Cuts(np.empty((0, own.sum())), np.empty((0, form.sequences)))


def count_cuts(cuts: Sequence[Cuts]) -> int:
    """Returns the number of cuts of all seats."""
    return sum(len(each.answer) for each in cuts)


def add_new_member(members: Population, newcomers: Profile, seat: int, answers: Sequence[np.ndarray]) -> None:
    """Adds the first answer (S,) that is not a member yet to the members of a seat."""
    for answer in answers:
        fill_tables([newcomers[seat]], answer)
        if members.grow(newcomers, [seat]):
            return


def solve_mixture(
    form: SequenceForm, seat: int, members: Sequence[Any], cuts: Cuts, tolerance: float
) -> tuple[np.ndarray, list[np.ndarray], Cuts]:
    """Returns the mixture (n,) of a seat's members that is exploited least, and the strategies (S,) that exploit it.

    These are the other seat's part of the equilibrium, the most probable first. Returns also the cuts with new ones.
    """
    plans, span = np.array([[1, *table_plan(member)] for member in members]), members[0].span  # 1: the empty sequence
    table = plans @ cuts.earned.T
    while True:
        mixture, weights = zero_sum(table) if len(cuts.answer) else (np.eye(len(plans))[0], np.empty(0))
        promised, slack = (mixture @ table).min(initial=np.inf), tolerance * np.abs(table).max(initial=0.0)
        plan = np.zeros(form.sequences)
        plan[: form.players], plan[span] = 1, mixture @ plans[:, 1:]
        value = gradient_of(form, plan)
        backup_best_values(form, value)
        answer = greedy_strategy(form, value)
        is_known = any(np.array_equal(answer, each) for each in cuts.answer)  # further gains are rounding errors
        if is_known or promised + value[1 - seat] <= slack:
            return mixture, [cuts.answer[each] for each in np.argsort(-weights) if weights[each] > LEAST], cuts
        value = gradient_of(form, realization_plan(form, answer))
        earned = np.concatenate([value[seat : seat + 1], value[span]])
        cuts = Cuts(np.vstack([cuts.earned, earned]), np.vstack([cuts.answer, answer]))
        table = np.column_stack([table, plans @ earned])


def is_zero_sum(form: SequenceForm) -> bool:
    """Whether the payoffs of two players sum to zero at every end of the game."""
    if form.players != 2:
        return False
    own, other = entry_sequences(form), form.others[:, 0].astype(np.int64)
    first = owners(form)[own] == 0
    one, two = np.lexsort((other[first], own[first])), np.lexsort((own[~first], other[~first]))  # sorts endings
    sums = form.payoff[first][one] + form.payoff[~first][two]
    return bool(np.abs(sums).max() <= ROUNDING * np.abs(form.payoff).max())
