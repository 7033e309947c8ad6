"""The iterations of `cfr.py`, a whole level of the tree at a time in torch: for a GPU, where small steps cost dear.

The sums of a level are taken in another order than there, so that numbers agree to rounding and not bit for bit.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.extensive_form.sequence_form import SequenceForm, entry_sequences


class Level(NamedTuple):
    """Information sets of one player, as many own actions after the start; K of them with N sequences in all."""

    sequence: Tensor  # (N,) their sequences
    infoset: Tensor  # (N,) which of the K each belongs to
    parent: Tensor  # (K,) the sequence that leads to each
    actions: Tensor  # (K,) float64: how many


class Side(NamedTuple):
    """What a player learns from: e of its entries, and its levels, the first first."""

    own: Tensor  # (e,)
    others: Tensor  # (e, P - 1)
    payoff: Tensor  # (e,) float64
    levels: list[Level]


def sides(form: SequenceForm, device: str) -> list[Side]:
    """The arrays of each player on a device."""
    ends, depth = entry_sequences(form), depths(form)
    owner = np.repeat(np.arange(form.players), np.diff(form.first[form.begin]).astype(np.int64))
    owner = np.concatenate([np.arange(form.players), owner])[ends]
    found = []
    for player in range(form.players):
        mine, infosets = owner == player, np.arange(form.begin[player], form.begin[player + 1])
        levels = [infosets[depth[infosets] == each] for each in range(int(depth[infosets].max(initial=-1)) + 1)]
        own, others, payoff = (
            torch.from_numpy(each[mine]).to(device) for each in (ends, form.others.astype(np.int64), form.payoff)
        )
        found.append(Side(own, others, payoff, [level_of(form, each, device) for each in levels]))
    return found


def depths(form: SequenceForm) -> np.ndarray:
    """How many own actions lead to each information set (I,)."""
    depth, of_sequence = np.zeros(len(form.parent), np.int64), np.zeros(form.sequences, np.int64)
    for infoset, parent in enumerate(form.parent):
        depth[infoset] = of_sequence[parent]
        of_sequence[form.first[infoset] : form.first[infoset + 1]] = depth[infoset] + 1
    return depth


def level_of(form: SequenceForm, infosets: np.ndarray, device: str) -> Level:
    """The arrays of some information sets."""
    first, stop = form.first[infosets].astype(np.int64), form.first[infosets + 1].astype(np.int64)
    sequence = np.concatenate([np.arange(start, end) for start, end in zip(first, stop, strict=True)])
    infoset = np.repeat(np.arange(len(infosets)), stop - first)
    arrays = sequence, infoset, form.parent[infosets].astype(np.int64), (stop - first).astype(float)
    return Level(*(torch.from_numpy(each).to(device) for each in arrays))


def iterations(
    form: SequenceForm, rule: Any, learned: Any, alternating: bool, device: str
) -> Callable[[int, int], None]:
    """A function that does iterations `after` + 1 to `after` + `count` on a device, and brings home what was learned.

    `rule` and `learned` are a Rule and a State of `cfr.py`, the latter its arrays.
    """
    parts = sides(form, device)
    there = learned._make(torch.from_numpy(each).to(device) for each in learned)

    def iterate(after: int, count: int) -> None:
        for iteration in range(after + 1, after + count + 1):
            seen = there.plan if alternating else there.plan.clone()
            for side in parts:
                update(side, rule, there, seen, float(iteration))
        for array, tensor in zip(learned, there, strict=True):
            torch.from_numpy(array).copy_(tensor)

    return iterate


def update(side: Side, rule: Any, state: Any, seen: Tensor, iteration: float) -> None:
    """One player learns; see `cfr.update`."""
    value = torch.zeros_like(state.plan)
    value.index_add_(0, side.own, side.payoff * seen[side.others].prod(1))
    for level in reversed(side.levels):
        value.index_add_(0, level.parent, regret_matching(level, rule, state, value, iteration))
    for level in side.levels:
        state.total[level.sequence] += iteration**rule.gamma * state.plan[level.sequence]
        state.plan[level.sequence] = state.plan[level.parent][level.infoset] * state.strategy[level.sequence]


def regret_matching(level: Level, rule: Any, state: Any, value: Tensor, iteration: float) -> Tensor:
    """The next strategy in the information sets of a level; returns what the last was worth there (K,)."""
    at, worth = level.sequence, value[level.sequence]
    mean = summed(level, state.strategy[at] * worth)
    instant = worth - mean[level.infoset]
    regret = state.regret[at] + instant
    regret = regret.clamp(min=0) if rule.floor else regret
    regret = torch.where(regret > 0, kept(rule.alpha, iteration) * regret, kept(rule.beta, iteration) * regret)
    ahead = (regret + instant if rule.predict else regret).clamp(min=0)
    whole = summed(level, ahead)[level.infoset]
    state.regret[at] = regret
    state.strategy[at] = torch.where(whole > 0, ahead / whole, 1 / level.actions[level.infoset])
    return mean


def kept(exponent: float, iteration: float) -> float:
    """t^a / (t^a + 1)."""
    return 1.0 if exponent == math.inf else iteration**exponent / (iteration**exponent + 1)


def summed(level: Level, number: Tensor) -> Tensor:
    """Sums (K,) over the actions of each information set."""
    return torch.zeros_like(level.actions).index_add_(0, level.infoset, number)
