"""Regularised updates and duality gaps of games in sequence form, in closed form.

In a game tree the KL terms of a player can be summed in two ways:

- behavioral: each information set responds on its own, to values given that it is reached, as if no other information
  set responded. Learning from sampled play approximates this form.
- dilated: KL terms are weighted by the player's own plan, and a response maximises payoff minus their sum over the
  whole tree (Hoda et al. 2010, DOI 10.1287/moor.1100.0452; Lee et al. 2021, arXiv:2106.14326). The regularised game is
  then strongly monotone, so small steps converge.

In games in which each player decides once, the two are the same.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    backup_action_values,
    counterfactual_reach,
    gradient_of,
    nash_conv,
    realization_plan,
)
from marl_engine.numerics.jit import compile_loop

BEHAVIORAL, DILATED = "behavioral", "dilated"


def regularised_strategy(
    form: SequenceForm, value: np.ndarray, penalties: list[tuple[float, np.ndarray]]
) -> np.ndarray:
    """Returns the strategy (S,) ~ exp[(value + sum of weight * log other) / sum of weights].

    Each information set is normalised separately.
    """
    with np.errstate(divide="ignore"):
        logit = value + sum(weight * np.log(other) for weight, other in penalties)
    return softmax_strategy(form, logit, sum(weight for weight, _ in penalties))


def softmax_strategy(form: SequenceForm, logit: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns the strategy (S,) ~ exp(logit / temperature) for logits (S,), normalised in each information set."""
    strategy = np.ones_like(logit)
    fill_softmax(form, logit, temperature, strategy)
    return strategy


@compile_loop
def fill_softmax(form, logit, weight, strategy):
    """Writes softmax(logit / weight) of each information set into the strategy (S,)."""
    for infoset in range(form.parent.size):
        start, stop = form.first[infoset], form.first[infoset + 1]
        highest, total = -np.inf, 0.0
        for sequence in range(start, stop):
            highest = max(highest, logit[sequence])
        for sequence in range(start, stop):
            strategy[sequence] = np.exp((logit[sequence] - highest) / weight)
            total += strategy[sequence]
        for sequence in range(start, stop):
            strategy[sequence] /= total


def dilated_strategy(form: SequenceForm, gradient: np.ndarray, penalties: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """Returns the strategy (S,) with the highest payoff minus dilated KL terms, against a gradient (S,).

    Penalties are weights and strategies (S,), as in `regularised_strategy`.
    """
    return backup_dilated(form, gradient, penalties)[0]


def backup_dilated(
    form: SequenceForm, gradient: np.ndarray, penalties: list[tuple[float, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the strategy of `dilated_strategy`, and the regularised value (P,) of each player."""
    with np.errstate(divide="ignore"):
        pull = sum(weight * np.log(other) for weight, other in penalties)
    value, strategy = gradient.copy(), np.ones_like(gradient)
    fill_dilated_strategy(form, value, pull, sum(weight for weight, _ in penalties), strategy)
    return strategy, value[: form.players]


@compile_loop
def fill_dilated_strategy(form, value, pull, weight, strategy):
    """Writes the strategy (S,) of softmax((value + pull) / weight) in each information set, from the leaves upwards.

    `value` (S,) is that of the sequences themselves; the values of later information sets are added to it.
    """
    for infoset in range(form.parent.size - 1, -1, -1):
        start, stop = form.first[infoset], form.first[infoset + 1]
        highest = -np.inf
        for sequence in range(start, stop):
            highest = max(highest, (value[sequence] + pull[sequence]) / weight)
        total = 0.0
        for sequence in range(start, stop):
            strategy[sequence] = np.exp((value[sequence] + pull[sequence]) / weight - highest)
            total += strategy[sequence]
        for sequence in range(start, stop):
            strategy[sequence] /= total
        value[form.parent[infoset]] += weight * (highest + np.log(total))


def greedy_strategy(form: SequenceForm, value: np.ndarray) -> np.ndarray:
    """Returns the strategy (S,) that plays the action with the highest value (S,) in each information set.

    Ties go to the first.
    """
    strategy = np.zeros_like(value)
    strategy[: form.players] = 1
    fill_greedy_strategy(form, value, strategy)
    return strategy


@compile_loop
def fill_greedy_strategy(form, value, strategy):
    """Gives the best action of each information set probability 1, in place."""
    for infoset in range(form.parent.size):
        best = form.first[infoset]
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            if value[sequence] > value[best]:
                best = sequence
        strategy[best] = 1.0


def duality_gap(form: SequenceForm, strategy: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """Returns the sum of what all players gain by best responses if each pays magnet_weight * KL(own || reference).

    All (S,).

    This is the duality gap of the regularised game in the convention of NashConv (a sum over players). The value of a
    response is magnet_weight * log sum_a reference(a) exp(q(a) / magnet_weight). In a tree every information set
    responds separately, as in the agent form of the game, whose regularised equilibria are agent quantal response
    equilibria (McKelvey and Palfrey 1998). Gains are weighted by the reach probability of the information set.

    For magnet_weight = 0 it is the sum of the gains of deviations in a single information set. This equals NashConv
    where each player decides once; in a tree it may be smaller or larger. It is infinite if magnet_weight > 0 and the
    strategy plays an action which the reference does not.
    """
    plan = realization_plan(form, strategy)
    value = gradient_of(form, plan)
    backup_action_values(form, strategy, value)
    reach = counterfactual_reach(form, strategy, plan)
    gain: float = sum_regularised_gains(form, strategy, plan, value, reach, reference, magnet_weight)
    return gain


@compile_loop
def sum_regularised_gains(form, strategy, plan, value, reach, reference, magnet_weight):
    """Returns the sum over information sets of the regularised gain of a response there, weighted by its reach.

    `value` (S,) are counterfactual values. A response to q is worth the maximum of q if magnet_weight is 0.
    """
    total = 0.0
    for infoset in range(form.parent.size):
        start, stop = form.first[infoset], form.first[infoset + 1]
        weight = plan[form.parent[infoset]] * reach[start]
        if weight <= 0:
            continue
        highest, current, odds = -np.inf, 0.0, 0.0
        for sequence in range(start, stop):
            q = value[sequence] / reach[start]
            if magnet_weight == 0 or reference[sequence] > 0:
                highest = max(highest, q)
            if strategy[sequence] > 0:
                current += strategy[sequence] * q
                if magnet_weight > 0:
                    change = np.log(strategy[sequence]) - np.log(reference[sequence])
                    current -= magnet_weight * strategy[sequence] * change
        if magnet_weight > 0:
            for sequence in range(start, stop):
                if reference[sequence] > 0:  # elsewhere the exponential may overflow
                    odds += reference[sequence] * np.exp((value[sequence] / reach[start] - highest) / magnet_weight)
            highest += magnet_weight * np.log(odds)
        total += weight * (highest - current)
    return total


def dilated_gap(form: SequenceForm, strategy: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """Returns the duality gap of the game in which each player pays its dilated KL divergence to the reference.

    As `duality_gap`, which it equals where each player decides once. For magnet_weight = 0 it is NashConv.
    """
    plan = realization_plan(form, strategy)
    if magnet_weight == 0:
        return nash_conv(form, plan)
    gradient = gradient_of(form, plan)
    _, best = backup_dilated(form, gradient, [(magnet_weight, reference)])
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(plan > 0, magnet_weight * plan * np.log(strategy / reference), 0.0)
    return float(best.sum() - (plan @ gradient - cost.sum()))


Gap: TypeAlias = Callable[[SequenceForm, np.ndarray, np.ndarray, float], float]
GAPS: dict[str, Gap] = {BEHAVIORAL: duality_gap, DILATED: dilated_gap}
