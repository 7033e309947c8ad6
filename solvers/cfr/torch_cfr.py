"""CFR in torch, one level of the tree at a time: for GPUs, where small operations are expensive.

Sums are added in a different order than in `cfr.py`, so results agree up to rounding.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.extensive_form.sequence_form import SequenceForm, entry_sequences, owners
from solvers.cfr.state import Rule, State


class Level(NamedTuple):
    """K information sets of one player at the same depth, counted in own actions, with N sequences."""

    sequence: Tensor  # (N,)
    infoset: Tensor  # (N,) index of the information set, 0 to K - 1
    parent: Tensor  # (K,) the sequence that leads to each information set
    actions: Tensor  # (K,) float64: number of actions


class TensorState(NamedTuple):
    """The part of a `State` that lasts from one iteration to the next, on a device; all (S,)."""

    strategy: Tensor
    plan: Tensor
    regret: Tensor
    total: Tensor


class Side(NamedTuple):
    """The arrays of one player: e entries, and its levels from the root downwards."""

    sequence: Tensor  # (e,)
    others: Tensor  # (e, P - 1)
    payoff: Tensor  # (e,) float64
    levels: list[Level]


def build_sides(form: SequenceForm, device: str) -> list[Side]:
    """Returns the arrays of each player on a device."""
    ends, depth = entry_sequences(form), depths(form)
    owner = owners(form)[ends]
    result = []
    for player in range(form.players):
        entries, infosets = owner == player, np.arange(form.begin[player], form.begin[player + 1])
        levels = [infosets[depth[infosets] == each] for each in range(int(depth[infosets].max(initial=-1)) + 1)]
        sequence, others, payoff = (
            torch.from_numpy(each[entries]).to(device) for each in (ends, form.others.astype(np.int64), form.payoff)
        )
        result.append(Side(sequence, others, payoff, [build_level(form, each, device) for each in levels]))
    return result


def depths(form: SequenceForm) -> np.ndarray:
    """Returns the number of own actions before each information set (I,)."""
    depth, of_sequence = np.zeros(len(form.parent), np.int64), np.zeros(form.sequences, np.int64)
    for infoset, parent in enumerate(form.parent):
        depth[infoset] = of_sequence[parent]
        of_sequence[form.first[infoset] : form.first[infoset + 1]] = depth[infoset] + 1
    return depth


def build_level(form: SequenceForm, infosets: np.ndarray, device: str) -> Level:
    """Returns the arrays of the given information sets."""
    first, stop = form.first[infosets].astype(np.int64), form.first[infosets + 1].astype(np.int64)
    sequence = np.concatenate([np.arange(start, end) for start, end in zip(first, stop, strict=True)])
    infoset = np.repeat(np.arange(len(infosets)), stop - first)
    arrays = sequence, infoset, form.parent[infosets].astype(np.int64), (stop - first).astype(float)
    return Level(*(torch.from_numpy(each).to(device) for each in arrays))


def make_iterate(
    form: SequenceForm, rule: Rule, state: State, alternating: bool, device: str
) -> Callable[[int, int], None]:
    """Returns a function (after, count) that runs iterations on a device and copies the result back to `state`."""
    parts, arrays = build_sides(form, device), (state.strategy, state.plan, state.regret, state.total)
    tensors = TensorState(*(torch.from_numpy(each).to(device) for each in arrays))

    def iterate(after: int, count: int) -> None:
        for iteration in range(after + 1, after + count + 1):
            opponent_plan = tensors.plan if alternating else tensors.plan.clone()
            for side in parts:
                update(side, rule, tensors, opponent_plan, float(iteration))
        for array, tensor in zip(arrays, tensors, strict=True):
            torch.from_numpy(array).copy_(tensor)

    return iterate


def update(side: Side, rule: Rule, state: TensorState, opponent_plan: Tensor, iteration: float) -> None:
    """Updates one player; see `cfr.update`."""
    value = torch.zeros_like(state.plan)
    value.index_add_(0, side.sequence, side.payoff * opponent_plan[side.others].prod(1))
    for level in reversed(side.levels):
        value.index_add_(0, level.parent, regret_matching(level, rule, state, value, iteration))
    for level in side.levels:
        state.total[level.sequence] += iteration**rule.gamma * state.plan[level.sequence]
        state.plan[level.sequence] = state.plan[level.parent][level.infoset] * state.strategy[level.sequence]


def regret_matching(level: Level, rule: Rule, state: TensorState, value: Tensor, iteration: float) -> Tensor:
    """Writes the next strategy in the information sets of a level; returns the values (K,) of the last one."""
    at, action_value = level.sequence, value[level.sequence]
    mean = sum_over_actions(level, state.strategy[at] * action_value)
    instant = action_value - mean[level.infoset]
    regret = state.regret[at] + instant
    regret = regret.clamp(min=0) if rule.floor else regret
    regret = torch.where(regret > 0, discount(rule.alpha, iteration) * regret, discount(rule.beta, iteration) * regret)
    prediction = (regret + instant if rule.predict else regret).clamp(min=0)
    normaliser = sum_over_actions(level, prediction)[level.infoset]
    state.regret[at] = regret
    state.strategy[at] = torch.where(normaliser > 0, prediction / normaliser, 1 / level.actions[level.infoset])
    return mean


def discount(exponent: float, iteration: float) -> float:
    """Returns t^a / (t^a + 1)."""
    return 1.0 if exponent == math.inf else iteration**exponent / (iteration**exponent + 1)


def sum_over_actions(level: Level, number: Tensor) -> Tensor:
    """Returns sums (K,) over the actions of each information set."""
    return torch.zeros_like(level.actions).index_add_(0, level.infoset, number)
