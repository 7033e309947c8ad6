"""Training data of a policy and its critic from a stretch of play: single decisions, or whole sequences.

Policies without memory learn from decisions in any order. Those with memory learn by truncated backpropagation through
time over the stretch (Williams and Peng 1990, Neural Computation 2:490), starting from the memory that they had during
play; their minibatches consist of whole sequences.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.networks.sparse_input import END
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.trees import choose_rows, map_tree
from marl_engine.policies.team import as_team
from marl_engine.responders.regulariser import KLTerm
from marl_engine.rollout.rollout import Trajectory, select_seats
from marl_engine.rollout.seat_memory import join_seats
from marl_engine.types import Distribution, Memory, Policy, Turn


class SeatBatch(NamedTuple):
    """The data of one policy: some seats of a stretch of play, and the turn after it."""

    trajectory: Trajectory
    after: Turn
    seats: list[int]
    lineup: str = "0"  # the name of the line-up that played it: its number

    def flat(self, each: Tensor) -> Tensor:
        """Returns the rows (T * B * seats, …) of these seats, from (T, B, P, …)."""
        return select_seats(each.flatten(0, 1), self.seats, each.shape[2])


class Course(NamedTuple):
    """The structure of N sequences of T turns."""

    memory: Memory  # (N, …) before the first turn
    opens: Tensor  # (T, N) bool: a game opens there, which clears the memory
    acting: Tensor  # (T, N) bool: the seat acts there; otherwise its memory does not change
    others: tuple[Memory, ...] = ()  # memories (N, …) of the policies of KL terms


class Team(NamedTuple):
    """The structure of N joint decisions of P seats."""

    acting: Tensor  # (N, P) bool
    draws: Memory = None  # a tree of (N, …); see `TeamDecision`


class PolicyBatch(NamedTuple):
    """Data of a policy: N decisions; with a course N sequences of T turns, and with a team N joint decisions.

    Shapes are then (T, N, …) or (N, P, …) instead of (N, …).
    """

    rows: Tensor  # (N, ...) encoded observations
    legal: Tensor | None  # (N, A) bool
    action: Tensor  # (N,) int64, or (N, K) of choices, or (N, D) of numbers
    log_prob: Tensor  # (N,) when it was taken
    advantage: Tensor  # (N,)
    target: Tensor | None = None  # (N, A) of KL terms; see `losses.ppo.Pull`
    course: Course | None = None
    team: Team | None = None

    def distribution(self, policy: Policy) -> Distribution:
        """Returns the learner's distributions in the decisions of the batch."""
        return self.evaluate(policy)[0]

    def evaluate(self, policy: Policy) -> tuple[Distribution, Tensor | None]:
        """Returns the distributions in the decisions of the batch, and the penalty of a team."""
        if self.team is not None:
            acting, draws = self.team
            return as_team(policy).team_distribution(self.rows, self.legal, acting, self.action, draws)
        if self.course is not None:
            return policy.unroll(self.rows, self.legal, *self.course[:3])[0], None
        return policy(self.rows, self.legal)[0], None

    def distribution_of(self, other: Policy, number: int) -> Distribution:
        """Returns the distributions of the policy of KL term `number`."""
        if self.team is not None and other.unit == "team":
            return self.distribution(other)
        if self.course is None:
            legal = None if self.legal is None else select_decisions(self, self.legal)
            return other(select_decisions(self, self.rows), legal)[0]
        _, opens, acting, memories = self.course
        return other.unroll(self.rows, self.legal, memories[number], opens, acting)[0]


@torch.no_grad()
def merge_terms(batch: PolicyBatch, terms: Sequence[KLTerm]) -> PolicyBatch:
    """Returns the batch with the target of KL terms.

    There is none if there are no terms, or distributions are not categorical.
    """
    there = [batch.distribution_of(term.policy, number) for number, term in enumerate(terms)]
    if not there or not all(isinstance(each, Categorical) for each in there):
        return batch
    target = sum(term.weight * cast(Categorical, each).log_probs for term, each in zip(terms, there, strict=True))
    assert isinstance(target, Tensor)
    acting = decisions_of(batch)
    if acting is None:
        return batch._replace(target=target)
    merged = target.new_zeros(*acting.shape, target.shape[1])
    merged[acting] = target
    return batch._replace(target=merged, course=batch.course and batch.course._replace(others=()))


class CriticBatch(NamedTuple):
    """Data of a critic, in the same layout."""

    rows: Tensor  # (N, ...) encoded observations
    target: Tensor  # (N,)
    value: Tensor  # (N,) before learning
    course: Course | None = None
    team: Team | None = None

    def values(self, critic: Any) -> Tensor:
        """Returns the values (N,) of the decisions of the batch."""
        if self.course is None:
            return critic(select_decisions(self, self.rows))[:, 0]
        return critic.unroll(self.rows, *self.course[:3])[0][..., 0][self.course.acting]


Batch = TypeVar("Batch", PolicyBatch, CriticBatch)


def count_units(batch: Batch) -> int:
    """Returns the number of decisions or sequences that minibatches are made of."""
    return batch.rows.shape[0 if batch.course is None else 1]


def select_units(batch: Batch, index: Tensor | slice) -> Batch:
    """Returns some of the decisions, by number, mask or slice, or some of the sequences."""
    if batch.course is None:
        columns = [None if each is None else each[index] for each in batch[:-2]]
        team = batch.team and Team(*map_tree(lambda each: each[index], batch.team))
        return type(batch)(*columns, None, team)  # type: ignore[call-arg, arg-type]
    memory, opens, acting, others = batch.course
    memory, others = map_tree(lambda each: each[index], (memory, others))
    course = Course(memory, opens[:, index], acting[:, index], others)
    columns = [None if each is None else each[:, index] for each in batch[:-2]]
    return type(batch)(*columns, course)  # type: ignore[call-arg, arg-type]


def decisions_of(batch: Batch) -> Tensor | None:
    """Returns which of the entries of a batch (T, N) or (N, P) are decisions; None: all entries of a batch (N,)."""
    structure = batch.course or batch.team
    return None if structure is None else structure.acting


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
    along, columns = 0 if batches[0].course is None else 1, []
    for each in zip(*(batch[:-2] for batch in batches), strict=True):
        if each[0] is not None and each[0].dtype == torch.int32:
            longest = max(lists.shape[-1] for lists in each)
            each = tuple(F.pad(lists, (0, longest - lists.shape[-1]), value=END) for lists in each)
        columns.append(None if each[0] is None else torch.cat(each, dim=along))
    course = concatenate_courses([batch.course for batch in batches])
    teams = [batch.team for batch in batches if batch.team is not None]
    team = Team(*map_tree(lambda *each: torch.cat(each), *teams)) if teams else None
    return type(batches[0])(*columns, course, team)  # type: ignore[call-arg, arg-type]


def concatenate_courses(courses: Sequence[Course | None]) -> Course | None:
    """Concatenates the courses of sequences; None if there are none."""
    several = [each for each in courses if each is not None]
    if not several:
        return None
    memory, opens, acting, others = zip(*several, strict=True)
    trees = map_tree(lambda *each: torch.cat(each), *zip(memory, others, strict=True))
    return Course(trees[0], torch.cat(opens, dim=1), torch.cat(acting, dim=1), trees[1])


class Values(NamedTuple):
    """The critic's values in a stretch of play."""

    rows: Tensor  # (T * B * seats, …) encoded observations
    value: Tensor  # (T, B, seats)
    after: Tensor  # (B, seats) of the turn after the stretch
    final: Tensor | None  # (T, B, seats) last observations of truncated games
    memory: Memory  # (B * seats, …) memory after the stretch


def critic_view(observation: Tensor, seats: list[int], joint: bool) -> Tensor:
    """Returns the critic's input from observations (M, P, …).

    It is (M * seats, …), each seat's own, or if `joint` (M * seats, P, …), those of all seats with its own first.
    """
    if not joint:
        return select_seats(observation, seats, observation.shape[1])
    return torch.stack([observation.roll(-seat, dims=1) for seat in seats], dim=1).flatten(0, 1)


def estimate_values(critic: Any, part: SeatBatch, joint: bool, course: Course | None) -> Values:
    """Returns the critic's values in a stretch of play; with a course, given the observations before."""
    trajectory, seats = part.trajectory, part.seats
    turns, games, _ = trajectory.reward.shape
    seat = torch.tensor(seats, device=trajectory.reward.device).repeat(turns * games)

    def show(observation: Tensor) -> Tensor:
        rows = critic_view(observation, seats, joint)
        return critic.encode(rows, seat[: len(rows)])

    rows, last = show(trajectory.observation.flatten(0, 1)), show(part.after.observation)
    final_rows = None if trajectory.final is None else show(trajectory.final.flatten(0, 1))
    memory = None
    if course is None:
        value, after, final = critic(rows), critic(last), None if final_rows is None else critic(final_rows)
    else:
        value, memories = critic.unroll(rows.unflatten(0, (turns, -1)), *course[:3])
        after, _ = critic(last, memories[-1])
        final_memory = None if final_rows is None else map_tree(lambda *each: torch.cat(each), *memories)
        final = None if final_rows is None else critic(final_rows, final_memory)[0]
        opens = part.after.done.repeat_interleave(len(seats))
        memory = choose_rows(opens, critic.initial_memory(len(opens)), memories[-1])
    shape = (turns, games, len(seats))
    return Values(rows, value.view(shape), after.view(shape[1:]), None if final is None else final.view(shape), memory)


def unknown_endings(trajectory: Trajectory, seats: list[int]) -> Tensor | None:
    """Returns where games are truncated while a seat waits, (T, B, seats); None: nowhere. See `gae`."""
    if trajectory.final_acting is None:
        return None
    return trajectory.truncated[..., None] & ~trajectory.final_acting[..., seats]


def course_of(part: SeatBatch, memory: Memory) -> Course:
    """Returns the course of the sequences of some seats, which start with a memory (B * seats, …)."""
    trajectory, turns = part.trajectory, len(part.trajectory.done)
    opens = torch.cat([torch.zeros_like(trajectory.done[:1]), trajectory.done[:-1]])
    seat_opens = opens.repeat_interleave(len(part.seats), dim=1)
    return Course(memory, seat_opens, part.flat(trajectory.acting).view(turns, -1))


def collate(
    policy: Policy, part: SeatBatch, values: Values, advantage: Tensor, shared_rows: bool, memory: Memory
) -> tuple[PolicyBatch, CriticBatch]:
    """Returns the data of a policy and of its critic, by the policy's unit; advantage is (T, B, seats).

    With `shared_rows` both have the same rows. `memory` is the critic's memory at the first turn.
    """
    trajectory = part.trajectory
    turns, games, _ = trajectory.reward.shape
    if shared_rows:
        rows = values.rows
    else:
        seat = torch.tensor(part.seats, device=advantage.device).repeat(turns * games)
        rows = policy.encode(part.flat(trajectory.observation), seat)
    legal = None if trajectory.legal is None else part.flat(trajectory.legal)
    action, log_prob, acting = (part.flat(each) for each in (trajectory.action, trajectory.log_prob, trajectory.acting))
    decisions = PolicyBatch(rows, legal, action, log_prob, advantage.flatten())
    estimates = CriticBatch(values.rows, (advantage + values.value).flatten(), values.value.flatten())
    if policy.unit == "sequence":
        memory_in_play = join_seats([trajectory.memory[seat] for seat in part.seats])
        return in_order(decisions, turns, course_of(part, memory_in_play)), in_order(
            estimates, turns, course_of(part, memory)
        )
    if trajectory.draws is not None:
        team = Team(acting.view(-1, len(part.seats)), map_tree(lambda each: each.flatten(0, 1), trajectory.draws))
        return in_teams(decisions, team), in_teams(estimates, team._replace(draws=None))
    if acting.all():
        return decisions, estimates
    return select_units(decisions, acting), select_units(estimates, acting)


def in_order(batch: Batch, turns: int, course: Course) -> Batch:
    """Returns rows (T * N, …) as sequences (T, N, …), with their course."""
    columns = [None if each is None else each.unflatten(0, (turns, -1)) for each in batch[:-2]]
    return type(batch)(*columns, course)  # type: ignore[call-arg, arg-type]


def in_teams(batch: Batch, team: Team) -> Batch:
    """Returns rows (N * P, …) as joint decisions (N, P, …) of a team."""
    columns = [None if each is None else each.unflatten(0, team.acting.shape) for each in batch[:-2]]
    return type(batch)(*columns, None, team)  # type: ignore[call-arg, arg-type]
