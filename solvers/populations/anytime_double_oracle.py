"""Anytime double oracle: plays the mixture of members that the worst opponent in the whole game exploits least.

McAleer et al. 2022 (arXiv:2201.07700, section 4). The mixture of double oracle is an equilibrium among members only, so
its exploitability may grow with the population. Here the opponent is not restricted to members, so that a larger
population can only help. The paper approximates the mixture by regret minimisation against best responses; here it is
exact: best responses are added to a linear program until they gain nothing. For two-player zero-sum games.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.regularised import greedy_strategy
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    backup_best_values,
    compute_gradient,
    entry_sequences,
    owners,
    realization_plan,
)
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.mixture import freeze
from marl_engine.policies.tabular import average_strategy, fill_tables, table_plan
from marl_engine.populations.population import Population, support
from marl_engine.responders.exact import ExactResponder, require_exact
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Responder, Runner, Work
from solvers.normal_form.nash import zero_sum

LEAST = 1e-6  # smallest weight in a support
ROUNDING = 1e-9  # of payoffs


class Cut(NamedTuple):
    """A strategy of the opponent, and the payoffs (1 + own,) of the own sequences against it."""

    earned: np.ndarray
    answer: np.ndarray  # (S,) a strategy


@dataclass
class AnytimeDoubleOracle:
    """Plays against: everything. Anchored to: nothing. Yields the mixture that is exploited least.

    Raises ValueError for games that are not two-player zero-sum, and for a tolerance that is not above 0.
    """

    tolerance: float = 1e-6  # tolerance of mixtures, relative to the largest payoff

    def __post_init__(self) -> None:
        check_fields("solver", self, "tolerance", above=0)
        self.members: Population | None = None
        self.cuts: list[list[Cut]]  # of each seat
        self.saved: Mapping[str, Any] = {}

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile consists of tables, which are the first members."""
        exact = require_exact(responder, profile, type(self).__name__)
        if not is_zero_sum(exact.form):
            raise ValueError("AnytimeDoubleOracle is for two-player zero-sum games; PSRO is for others")
        return self._solve(profile, exact, after)

    def _solve(self, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        state = self.state() or self.saved
        form, members, self.cuts = responder.form, Population(2), [[], []]
        self.members = members
        if after and state:
            members.restore(profile, state["members"])
            self.cuts = [[Cut(*map(Tensor.numpy, pair)) for pair in side] for side in state["cuts"]]
        else:
            members.grow(profile)
        for iteration in count(after + 1):
            cuts_before = sum(map(len, self.cuts))
            sides = [
                solve_mixture(form, *side, self.tolerance)
                for side in zip((0, 1), members.members, self.cuts, strict=True)
            ]
            mixtures, newcomers = [mixture for mixture, _ in sides], freeze(profile)
            fill_tables(profile, average_strategy(members.members, mixtures))
            for seat, (_, answers) in zip((1, 0), sides, strict=True):
                add_new_member(members, newcomers, seat, answers)
            work = Work(queries=sum(map(len, self.cuts)) - cuts_before)
            metrics = {"members": float(np.mean([len(mixture) for mixture in mixtures])), "support": support(mixtures)}
            distance = measure_nash_conv(responder, profile, iterate="mixture")
            yield Progress(iteration, profile, metrics | distance, work)

    def state(self) -> dict[str, Any]:
        """Returns members and cuts for a checkpoint."""
        if self.members is None:
            return {}
        cuts = [[list(map(torch.from_numpy, cut)) for cut in side] for side in self.cuts]
        return {"members": self.members.state(), "cuts": cuts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self.members, self.saved = None, state


def add_new_member(members: Population, newcomers: Profile, seat: int, answers: Sequence[np.ndarray]) -> None:
    """Adds the first answer (S,) that is not a member yet to the members of a seat."""
    for answer in answers:
        fill_tables([newcomers[seat]], answer)
        if members.grow(newcomers, [seat]):
            return


def solve_mixture(
    form: SequenceForm, seat: int, members: Sequence[Any], cuts: list[Cut], tolerance: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the mixture (n,) of a seat's members that is exploited least, and the strategies (S,) that exploit it.

    These are the other seat's part of the equilibrium, the most probable first. New ones are added to `cuts`.
    """
    plans, span = np.array([[1, *table_plan(member)] for member in members]), members[0].span  # 1: the empty sequence
    table = plans @ np.reshape([cut.earned for cut in cuts], (len(cuts), plans.shape[1])).T
    while True:
        mixture, weights = zero_sum(table) if cuts else (np.eye(len(plans))[0], np.empty(0))
        promised, slack = (mixture @ table).min(initial=np.inf), tolerance * np.abs(table).max(initial=0.0)
        plan, value = np.zeros((2, form.sequences))
        plan[: form.players], plan[span] = 1, mixture @ plans[:, 1:]
        compute_gradient(form, plan, value)
        backup_best_values(form, value)
        answer = greedy_strategy(form, value)
        is_known = any(np.array_equal(answer, cut.answer) for cut in cuts)  # further gains are rounding errors
        if is_known or promised + value[1 - seat] <= slack:
            return mixture, [cuts[each].answer for each in np.argsort(-weights) if weights[each] > LEAST]
        compute_gradient(form, realization_plan(form, answer), value)
        cuts.append(Cut(np.concatenate([value[seat : seat + 1], value[span]]), answer))
        table = np.column_stack([table, plans @ cuts[-1].earned])


def is_zero_sum(form: SequenceForm) -> bool:
    """Whether the payoffs of two players sum to zero at every end of the game."""
    if form.players != 2:
        return False
    own, other = entry_sequences(form), form.others[:, 0].astype(np.int64)
    first = owners(form)[own] == 0
    one, two = np.lexsort((other[first], own[first])), np.lexsort((own[~first], other[~first]))  # sorts endings
    sums = form.payoff[first][one] + form.payoff[~first][two]
    return bool(np.abs(sums).max() <= ROUNDING * np.abs(form.payoff).max())
