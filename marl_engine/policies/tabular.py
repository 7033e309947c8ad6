"""Policies that are tables: a distribution for every information set of a seat."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame
from marl_engine.extensive_form.regularised import softmax_strategy
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    behavior_strategy,
    fill_realization_plan,
)
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.trees import choose_rows, map_tree
from marl_engine.types import Memory, Policy

TINY = 1e-300  # smaller probabilities count as this one in logarithms


class TablePolicy(Policy):
    """The strategy of one seat of a game in sequence form: a probability for each of its actions (n,) float64.

    It is shown the numbers of information sets, (N, 1), as small games do.
    """

    strategy: Tensor
    place: Tensor
    tabular = True

    def __init__(self, form: SequenceForm, legal: np.ndarray, seat: int, start: np.ndarray):
        super().__init__()
        self.form = form
        begin, end = form.begin[seat], form.begin[seat + 1]
        self.begin, self.span = int(begin), slice(int(form.first[begin]), int(form.first[end]))
        legal_rows = torch.from_numpy(legal[begin:end])
        place = torch.full(legal_rows.shape, -1)
        place[legal_rows] = torch.arange(int(legal_rows.sum()))
        self.register_buffer("place", place, persistent=False)  # (I, A): where in `strategy` an action stands, or -1
        self.register_buffer("strategy", torch.from_numpy(start[self.span].copy()))

    def __deepcopy__(self, memo: dict[int, Any]) -> "TablePolicy":
        """A table of its own for the same game, of which there is only one."""
        other = copy(self)
        other._buffers = {**self._buffers, "strategy": self.strategy.clone()}
        return memo.setdefault(id(self), other)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows (N,) of the table.

        Observations while others move count as the seat's first information set.
        """
        rows = observation[:, 0].long() - self.begin
        return rows.where((rows >= 0) & (rows < len(self.place)), 0)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        if not len(self.place):  # a seat that never moves
            return Categorical(torch.zeros(len(rows), self.place.shape[1], device=rows.device), legal), memory
        place = self.place[rows]
        there = place >= 0
        logits = self.strategy[place.where(there, 0)].log().masked_fill(~there, -torch.inf)
        return Categorical(logits.float(), legal), memory


@dataclass
class TabularSpec:
    """Makes a profile of tables for an extensive game; they begin with its `start`."""

    def profile(self, game: ExtensiveGame) -> list[Policy]:
        """A table for each seat."""
        return [TablePolicy(game.form, game.legal, seat, game.start) for seat in range(game.players)]


def fill_tables(profile: Sequence[Any], strategy: np.ndarray) -> None:
    """Writes a strategy (S,) of all seats into their tables."""
    for policy in profile:
        policy.strategy.copy_(torch.from_numpy(strategy[policy.span]))


def stack_tables(profile: Sequence[Any]) -> np.ndarray:
    """The strategy (S,) that the tables of all seats hold."""
    return np.concatenate([np.ones(len(profile)), *(policy.strategy.cpu().numpy() for policy in profile)])


def geometric_mean_strategy(profile: Sequence[Any], other: Sequence[Any], weight: float) -> np.ndarray:
    """The strategy (S,) ~ profile^(1 - weight) * other^weight in each information set; beyond the profile below 0."""
    one, two = (np.log(np.maximum(stack_tables(each), TINY)) for each in (profile, other))
    return softmax_strategy(profile[0].form, (1 - weight) * one + weight * two)


def average_strategy(members: Sequence[Sequence[Any]], weights: Sequence[Any]) -> np.ndarray:
    """The strategy (S,) that plays as one member of each seat does, drawn by its weights (n,) when a game begins.

    It is the mean of their plans (sequence form), not of their strategies.
    """
    form = members[0][0].form
    plan = np.ones(form.sequences)
    for member_plans, mixture in zip(members, weights, strict=True):
        span = member_plans[0].span
        plan[span] = sum(
            weight * table_plan(member) for member, weight in zip(member_plans, mixture, strict=True) if weight > 0
        )
    return behavior_strategy(form, plan)


def table_plan(table: TablePolicy) -> np.ndarray:
    """The plan (n,) of the strategy that a table holds."""
    return seat_plan(table.form, table.strategy.cpu().numpy(), table.span)


def seat_plan(form: SequenceForm, strategy: np.ndarray, span: slice) -> np.ndarray:
    """The plan (n,) of the strategy (n,) of one seat, whose sequences are `span`."""
    ones, plan = np.ones((2, form.sequences))  # other seats are ignored, so this is not a plan of all
    ones[span] = strategy
    fill_realization_plan(form, ones, plan)
    return plan[span]


@torch.no_grad()
def tabulate_policy(game: ExtensiveGame, policy: Policy, seats: Sequence[int]) -> list[np.ndarray]:
    """Returns the strategy (n,) of each of the seats of a policy, which is evaluated in all their information sets.

    A policy that remembers is evaluated there after the information sets in which its seat acted before, as in play.
    """
    form = game.form
    sizes = [int(form.begin[seat + 1] - form.begin[seat]) for seat in seats]
    numbers = torch.cat([torch.arange(int(form.begin[seat]), int(form.begin[seat + 1])) for seat in seats])
    legal = torch.from_numpy(game.legal)[numbers].to(game.device)
    rows = policy.encode(
        numbers[:, None].int().to(game.device),
        torch.tensor(seats).repeat_interleave(torch.tensor(sizes)).to(game.device),
    )
    log_probs = torch.empty(legal.shape, device=legal.device)
    memory: Any = policy.initial_memory(len(rows))
    for index, before in order_by_depth(previous_infosets(form, seats), memory is not None):
        remembered = map_tree(lambda each, before=before: each[before], memory)
        initial = policy.initial_memory(len(index))
        remembered = choose_rows(torch.from_numpy(before >= 0).to(legal.device), remembered, initial)
        distribution, after = policy(rows[index], legal[index], remembered)
        assert isinstance(distribution, Categorical)
        log_probs[index] = distribution.log_probs
        map_tree(lambda each, new, index=index: each.index_put_((index,), new), memory, after)
    return [
        each.exp()[mask].double().cpu().numpy()
        for each, mask in zip(log_probs.split(sizes), legal.split(sizes), strict=True)
    ]


def previous_infosets(form: SequenceForm, seats: Sequence[int]) -> np.ndarray:
    """Returns the information set in which a seat acted before each of its own (n,), -1 if in none.

    Information sets are numbered in the order of the seats.
    """
    parts, offset = [], 0
    for seat in seats:
        begin, end = int(form.begin[seat]), int(form.begin[seat + 1])
        sequence = form.parent[begin:end].astype(np.int64)
        infoset = np.searchsorted(form.first, sequence, side="right") - 1 - begin + offset
        parts.append(np.where(sequence < form.players, -1, infoset))
        offset += end - begin
    return np.concatenate(parts)


def order_by_depth(previous: np.ndarray, remembers: bool) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yields information sets (m,) and those before them (m,), such that each comes after the one before it.

    All come at once where nothing is remembered.
    """
    depth = np.zeros(len(previous), np.int64)
    for infoset, before in enumerate(previous if remembers else ()):
        depth[infoset] = 0 if before < 0 else depth[before] + 1
    for level in range(int(depth.max(initial=-1)) + 1):
        index = np.flatnonzero(depth == level)
        yield torch.from_numpy(index), previous[index]
