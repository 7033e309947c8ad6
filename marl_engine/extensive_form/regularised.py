"""Regularised steps and duality gaps of games in sequence form, in closed form."""

import numpy as np

from marl_engine.extensive_form.sequence_form import Form, action_values, gradients, plan_of, reaches
from marl_engine.numerics.jit import compiled


def soft(form: Form, value: np.ndarray, held: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """The strategy (S,) ~ exp[(value + sum of weight * log other) / sum of weights], each information set by itself."""
    with np.errstate(divide="ignore"):
        logit = value + sum(weight * np.log(other) for weight, other in held)
    logit /= sum(weight for weight, _ in held)
    counts = np.diff(form.first)
    starts, players = form.first[:-1], form.players
    highest = np.repeat(np.maximum.reduceat(logit, starts), counts)
    odds = np.exp(logit[players:] - highest)
    total = np.repeat(np.add.reduceat(odds, starts - players), counts)
    return np.concatenate([np.ones(players), odds / total])


def greedy(form: Form, value: np.ndarray) -> np.ndarray:
    """The strategy (S,) of the best action in each information set, the first of several, by their values (S,)."""
    strategy = np.zeros_like(value)
    strategy[: form.players] = 1
    choose(form, value, strategy)
    return strategy


@compiled
def choose(form, value, strategy):
    """Gives the best action of each information set probability 1."""
    for infoset in range(form.parent.size):
        best = form.first[infoset]
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            if value[sequence] > value[best]:
                best = sequence
        strategy[best] = 1.0


def gap(form: Form, strategy: np.ndarray, reference: np.ndarray, pull: float) -> float:
    """How much all would gain by best responses, each paying pull * KL(own || reference). All arguments (S,).

    The duality gap of the regularised game, in the convention of NashConv (the sum over players), which it is for
    pull = 0. A response's value is pull * log sum_a reference(a) exp(q(a) / pull). In a tree every information set
    responds by itself, as in the agent form of the game, whose regularised equilibria are agent quantal response
    equilibria (McKelvey and Palfrey 1998); what it gains counts as often as it is reached.
    """
    plan = plan_of(form, strategy)
    value = np.empty_like(plan)
    gradients(form, plan, value)
    action_values(form, strategy, value)
    reach = reaches(form, strategy, plan)
    q = np.divide(value, reach, out=np.zeros_like(value), where=reach > 0)
    best = best_soft(form, q, reference, pull)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(strategy > 0, pull * np.log(strategy / reference), 0.0)
    players, starts = form.players, form.first[:-1] - form.players
    now = np.add.reduceat((strategy * (q - cost))[players:], starts)
    weight = plan[form.parent] * reach[form.first[:-1]]
    return float(weight @ (best - now))


def best_soft(form: Form, value: np.ndarray, reference: np.ndarray, pull: float) -> np.ndarray:
    """The most (I,) that each information set can make of action values (S,), less pull * KL(choice || reference)."""
    players, starts = form.players, form.first[:-1] - form.players
    highest = np.maximum.reduceat(value[players:], starts)
    if pull == 0:
        return highest
    above = value[players:] - np.repeat(highest, np.diff(form.first))
    return highest + pull * np.log(np.add.reduceat(reference[players:] * np.exp(above / pull), starts))
