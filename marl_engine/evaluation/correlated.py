"""Distances of joint distributions over profiles from correlated equilibria of a game in sequence form."""

from collections.abc import Sequence

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.extensive_form.sequence_form import backup_best_values, gradient_of, owners, sum_by_player
from marl_engine.policies.strategy import extract_seat_strategies, seat_sequences
from marl_engine.policies.tabular import seat_plan
from marl_engine.types import Policy

COARSE = -1  # stands for every recommendation


def correlated_gap(
    game: ExtensiveGame, members: Sequence[Sequence[Policy]], joint: np.ndarray, recommended: bool
) -> float:
    """Returns the sum over seats of what a best response gains against a joint distribution over members.

    The joint distribution is (n_0, n_1, …), where seat p has n_p members. A deviation is chosen before a combination is
    drawn, so the distance is from a coarse correlated equilibrium. With `recommended` it is chosen for each member that
    the seat is told to play, and the distance is from a correlated equilibrium of the game whose actions are
    strategies. Both are 0 at such an equilibrium.
    """
    form, owner = game.form, owners(game.form)
    earned = np.zeros(form.players)
    values: dict[tuple[int, int], np.ndarray] = {}  # what deviations earn, by seat and recommended member
    plans = [[member_plan(game, member, seat) for member in own] for seat, own in enumerate(members)]
    for place in map(tuple, np.argwhere(joint > 0).tolist()):
        plan = np.ones(form.sequences)
        for seat, number in enumerate(place):
            plan[seat_sequences(form, seat)] = plans[seat][number]
        gradient = joint[place] * gradient_of(form, plan)
        earned += sum_by_player(form, gradient * plan)
        for seat, number in enumerate(place):
            total = values.setdefault((seat, number if recommended else COARSE), np.zeros(form.sequences))
            total += np.where(owner == seat, gradient, 0)
    best = np.zeros(form.players)
    for (seat, _), value in values.items():
        backup_best_values(form, value)
        best[seat] += value[seat]
    return float((best - earned).sum())


def member_plan(game: ExtensiveGame, member: Policy, seat: int) -> np.ndarray:
    """Returns the realization plan (n,) of a member on the sequences of its seat."""
    span = seat_sequences(game.form, seat)
    return seat_plan(game.form, extract_seat_strategies(game, member, [seat])[0], span)
