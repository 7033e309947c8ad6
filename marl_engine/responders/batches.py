"""Training data of a policy and its critic: single decisions, whole sequences, or joint decisions of teams.

Policies without memory learn from decisions in any order. Those with memory learn by truncated backpropagation through
time over a stretch of play (Williams and Peng 1990, Neural Computation 2:490), starting from the memory that they had
during play; their minibatches consist of whole sequences.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.networks.sparse_input import END
from marl_engine.numerics.trees import map_tree, spread_rows
from marl_engine.policies.team import as_team
from marl_engine.responders.regulariser import KLTerm
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import select_seats
from marl_engine.types import Distribution, Memory, Metrics, Policy, Turn


class SeatBatch(NamedTuple):
    """The data of one policy: some seats of a stretch of play, and the turn after it."""

    trajectory: Trajectory
    after: Turn
    seats: list[int]
    lineup: str = "0"  # the name of the line-up that played it: its number
    ratio: Tensor | None = None  # (T, B) by which advantages are multiplied; see `SequentialRatios`
    stale: bool = False  # whether it was played with the policies before the last update; see `overlap`
    rho: Tensor | None = None  # (T, B, seats) truncated ratios of V-trace; see `gae`

    def flat(self, each: Tensor) -> Tensor:
        """Returns the rows (T * B * seats, …) of these seats, from (T, B, P, …)."""
        return select_seats(each.flatten(0, 1), self.seats, each.shape[2])


class Sequences(NamedTuple):
    """The structure of N sequences of T turns."""

    memory: Memory  # (N, …) before the first turn
    opens: Tensor  # (T, N) bool: a game opens there, which clears the memory
    acting: Tensor  # (T, N) bool: the seat acts there; otherwise its memory does not change
    others: tuple[Memory, ...] = ()  # memories (N, …) of the policies of KL terms
    log_probs: tuple[Tensor | None, ...] = ()  # (T, N, A) of these policies, if their distributions are categorical


class Team(NamedTuple):
    """The structure of N joint decisions of P seats."""

    acting: Tensor  # (N, P) bool
    draws: Memory = None  # a tree of (N, …); see `TeamDecision`


class PolicyBatch(NamedTuple):
    """Data of a policy: N decisions; with `sequences` N sequences of T turns, and with a team N joint decisions.

    Shapes are then (T, N, …) or (N, P, …) instead of (N, …).
    """

    rows: Tensor  # (N, ...) encoded observations
    legal: Tensor | None  # (N, A) bool
    action: Tensor  # (N,) int64, or (N, K) of choices, or (N, D) of numbers
    log_prob: Tensor  # (N,) when it was taken
    advantage: Tensor  # (N,)
    ratio: Tensor | None = None  # (N,) by which advantages are multiplied once they are standardised
    target: Tensor | None = None  # (N, A) of KL terms; see `losses.ppo.KLPenalty`
    sequences: Sequences | None = None
    team: Team | None = None

    def distribution(self, policy: Policy) -> Distribution:
        """Returns the learner's distributions in the decisions of the batch."""
        return self.evaluate(policy)[0]

    def evaluate(self, policy: Policy) -> tuple[Distribution, Tensor | None]:
        """Returns the distributions in the decisions of the batch, and the penalty of a team."""
        if self.team is not None:
            acting, draws = self.team
            return as_team(policy).team_distribution(self.rows, self.legal, acting, self.action, draws)
        if self.sequences is not None:
            return policy.unroll(self.rows, self.legal, *self.sequences[:3])[0], None
        return policy(self.rows, self.legal)[0], None

    def distribution_of(self, other: Policy, number: int) -> Distribution:
        """Returns the distributions of the policy of KL term `number`."""
        if self.team is not None and other.unit == "team":
            return self.distribution(other)
        if self.sequences is None:
            legal = None if self.legal is None else select_decisions(self, self.legal)
            return other(select_decisions(self, self.rows), legal)[0]
        memory, (_, opens, acting, *_) = self.sequences.others[number], self.sequences
        return other.unroll(self.rows, self.legal, memory, opens, acting)[0]


@torch.no_grad()
def merge_terms(batch: PolicyBatch, terms: Sequence[KLTerm]) -> PolicyBatch:
    """Returns the batch with the target of KL terms.

    There is none if there are no terms, or distributions are not categorical.
    """
    if batch.sequences is not None:
        log_probs = list(batch.sequences.log_probs)
    else:
        log_probs = [batch.distribution_of(term.policy, number).log_probs for number, term in enumerate(terms)]
    weighted = [term.weight * each for term, each in zip(terms, log_probs, strict=True) if each is not None]
    if not weighted or len(weighted) < len(terms):
        return batch
    target = reduce(torch.add, weighted)
    if batch.team is not None:
        target = spread_rows(target, batch.team.acting)
    return batch._replace(
        target=target, sequences=batch.sequences and batch.sequences._replace(others=(), log_probs=())
    )


class CriticBatch(NamedTuple):
    """Data of a critic, in the same layout."""

    rows: Tensor  # (N, ...) encoded observations
    target: Tensor  # (N,)
    value: Tensor  # (N,) before learning
    sequences: Sequences | None = None
    team: Team | None = None

    def values(self, critic: Any) -> Tensor:
        """Returns the values (N,) of the decisions of the batch."""
        if self.sequences is None:
            return critic(select_decisions(self, self.rows))[:, 0]
        return critic.unroll(self.rows, *self.sequences[:3])[0][..., 0][self.sequences.acting]


Batch = TypeVar("Batch", PolicyBatch, CriticBatch)


def count_units(batch: Batch) -> int:
    """Returns the number of decisions or sequences that minibatches are made of."""
    return batch.rows.shape[0 if batch.sequences is None else 1]


def count_decisions(batch: Batch, index: Tensor) -> int:
    """Returns the number of decisions in some units."""
    if batch.sequences is not None:
        return int(batch.sequences.acting[:, index].sum())
    return len(index) if batch.team is None else int(batch.team.acting[index].sum())


def select_units(batch: Batch, index: Tensor | slice) -> Batch:
    """Returns some of the decisions, by number, mask or slice, or some of the sequences."""
    if batch.sequences is None:
        columns = [None if each is None else select_rows(each, index) for each in batch[:-2]]
        team = batch.team and Team(*map_tree(lambda each: each[index], batch.team))
        return type(batch)(*columns, None, team)  # type: ignore[call-arg, arg-type]
    memory, opens, acting, others, _ = batch.sequences
    memory, others = map_tree(lambda each: each[index], (memory, others))
    sequences = Sequences(memory, opens[:, index], acting[:, index], others)
    columns = [None if each is None else each[:, index] for each in batch[:-2]]
    return type(batch)(*columns, sequences)  # type: ignore[call-arg, arg-type]


def select_rows(each: Tensor, index: Tensor | slice) -> Tensor:
    """Returns each[index]; numbers of rows are looked up in half of the time."""
    if isinstance(index, Tensor) and index.dtype == torch.int64:
        return each.index_select(0, index)
    return each[index]


def decisions_of(batch: Batch) -> Tensor | None:
    """Returns which of the entries of a batch (T, N) or (N, P) are decisions; None: all entries of a batch (N,)."""
    structure = batch.sequences or batch.team
    return None if structure is None else structure.acting


def has_decisions(batch: PolicyBatch, index: Tensor | slice) -> bool:
    """Whether there is a decision among some units of a batch, given by numbers or a slice."""
    if batch.sequences is not None:
        return bool(batch.sequences.acting[:, index].any())
    if batch.team is not None:
        return bool(batch.team.acting[index].any())
    return len(index if isinstance(index, Tensor) else batch.advantage[index]) > 0


def select_decisions(batch: Batch, each: Tensor) -> Tensor:
    """Returns what belongs to decisions of data on all turns, or of all seats: (T, N, …) or (N, P, …) -> (M, …)."""
    acting = decisions_of(batch)
    return each if acting is None else each[acting]


def fill_legal(batches: Sequence[PolicyBatch]) -> list[PolicyBatch]:
    """Returns the batches with masks of legal actions if one of them has a mask; without a mask all are legal."""
    mask = next((batch.legal for batch in batches if batch.legal is not None), None)
    if mask is None:
        return list(batches)
    full = [each._replace(legal=mask.new_ones(*each.advantage.shape, mask.shape[-1])) for each in batches]
    return [ones if each.legal is None else each for each, ones in zip(batches, full, strict=True)]


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Concatenates batches; lists of differences are padded to the same length."""
    if len(batches) == 1:
        return batches[0]
    along, columns = 0 if batches[0].sequences is None else 1, []
    for each in zip(*(batch[:-2] for batch in batches), strict=True):
        if each[0] is not None and each[0].dtype == torch.int32:
            longest = max(lists.shape[-1] for lists in each)
            each = tuple(F.pad(lists, (0, longest - lists.shape[-1]), value=END) for lists in each)
        columns.append(None if each[0] is None else torch.cat(each, dim=along))
    sequences = concatenate_sequences([batch.sequences for batch in batches])
    teams = [batch.team for batch in batches if batch.team is not None]
    team = Team(*map_tree(lambda *each: torch.cat(each), *teams)) if teams else None
    return type(batches[0])(*columns, sequences, team)  # type: ignore[call-arg, arg-type]


def concatenate_sequences(parts: Sequence[Sequences | None]) -> Sequences | None:
    """Concatenates the structures of sequences; None if there are none."""
    several = [each for each in parts if each is not None]
    if not several:
        return None
    memory, opens, acting, others, log_probs = zip(*several, strict=True)
    trees = map_tree(lambda *each: torch.cat(each), *zip(memory, others, strict=True))
    joined = map_tree(lambda *each: torch.cat(each, dim=1), *zip(opens, acting, log_probs, strict=True))
    return Sequences(trees[0], joined[0], joined[1], trees[1], joined[2])


def mean_metrics(several: Sequence[Metrics]) -> Metrics:
    """Returns the mean of each metric over those that report it."""
    names = dict.fromkeys(name for each in several for name in each)
    numbers = {name: [each[name] for each in several if name in each] for name in names}
    return {name: sum(each) / len(each) for name, each in numbers.items()}
