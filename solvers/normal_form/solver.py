"""Solves a game in normal form in one iteration with a method of this package.

Further iterations change nothing. With `method=all` every equilibrium of a two-player game is listed in the metrics,
and the profile is the one with the largest sum of payoffs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.sequence_form import SequenceForm
from marl_engine.policies.tabular import fill_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Profile, Progress, Responder, Runner, Work
from solvers.normal_form.alpha_rank import MAX_JOINT_ACTIONS
from solvers.normal_form.catalogue import META
from solvers.normal_form.enumeration import all_equilibria, check_size
from solvers.normal_form.regrets import Strategies, values

ALL = "all"


@dataclass
class NormalForm:
    """Plays against: all players, simultaneously. Anchored to: nothing.

    Raises ValueError for an unknown method, and for games in which a player chooses more than once.
    """

    STATE = ()

    method: str = "nash"

    def __post_init__(self) -> None:
        if self.method not in (*META, ALL):
            raise ValueError(f"solver.method must be one of {', '.join([*META, ALL])}, not {self.method!r}")

    def solve(
        self, profile: Profile, responder: ExactResponder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The policies of the profile must be tables."""
        form = responder.form
        if not is_one_shot(form):
            raise ValueError(
                "NormalForm is for games in which every player chooses once, such as matrix games; "
                "other games are solved by CFR"
            )
        joint = prod(np.diff(form.first).tolist())
        if self.method == "alpha_rank" and joint > MAX_JOINT_ACTIONS:
            raise ValueError(
                f"solver.method=alpha_rank takes up to {MAX_JOINT_ACTIONS:,} joint actions, not {joint:,}; use nash"
            )
        if self.method == ALL:
            check_size(np.diff(form.first).tolist())
        return self._solve(form, profile, responder, after)

    def _solve(self, form: SequenceForm, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        payoffs = payoff_array(form)
        answers = all_equilibria(payoffs) if self.method == ALL else [META[self.method](payoffs)]
        strategies = max(answers, key=lambda each: sum(seat_values(payoffs, each).values()))
        fill_tables(profile, np.concatenate([np.ones(form.players), *strategies]))
        metrics = seat_values(payoffs, strategies) | measure_nash_conv(responder, profile)
        metrics |= equilibria_metrics(answers) if self.method == ALL else {}
        for iteration in count(after + 1):
            yield Progress(iteration, profile, metrics, Work(queries=0))  # the payoffs are known beforehand


def equilibria_metrics(equilibria: Sequence[Strategies]) -> Metrics:
    """Returns the number of equilibria, and the probability of each action as equilibrium/NUMBER/SEAT/ACTION."""
    chances = {
        f"equilibrium/{number}/{seat}/{action}": float(chance)
        for number, strategies in enumerate(equilibria)
        for seat, own in enumerate(strategies)
        for action, chance in enumerate(own)
    }
    return {"equilibria": float(len(equilibria)), **chances}


def is_one_shot(form: SequenceForm) -> bool:
    """Whether every player has one information set."""
    return bool((np.diff(form.begin) == 1).all())


def payoff_array(form: SequenceForm) -> np.ndarray:
    """Returns the payoffs (P, A, B, …) of a game in which all players choose once, averaged over chance."""
    first = form.first.astype(np.int64)
    payoffs = np.zeros((form.players, *np.diff(first)))
    entries: np.ndarray = np.diff(form.entry.astype(np.int64))
    for player in range(form.players):
        own = slice(first[player], first[player + 1])
        where = slice(int(form.entry[own.start]), int(form.entry[own.stop]))
        joint = np.empty((where.stop - where.start, form.players), np.int64)
        joint[:, player] = np.repeat(np.arange(own.start, own.stop), entries[own])
        joint[:, [other for other in range(form.players) if other != player]] = form.others[where]
        np.add.at(payoffs[player], tuple((joint - first[:-1]).T), form.payoff[where])
        payoffs[player] += form.centre[player]
    return payoffs


def seat_values(payoffs: np.ndarray, strategies: Strategies) -> Metrics:
    """Returns the expected payoff of each seat as value/SEAT."""
    return {f"value/{seat}": float(own @ values(payoffs, strategies, seat)) for seat, own in enumerate(strategies)}
