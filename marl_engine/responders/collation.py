"""Makes the training data of a policy and its critic from a stretch of play and the critic's values in it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.losses.gae import Advantages
from marl_engine.numerics.trees import choose_rows, map_tree, spread_rows
from marl_engine.responders.batches import (
    Batch,
    CriticBatch,
    PolicyBatch,
    SeatBatch,
    Sequences,
    Team,
    select_units,
)
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import join_seats, select_seats
from marl_engine.types import Memory, Policy


class Values(NamedTuple):
    """The critic's values in a stretch of play."""

    rows: Tensor  # (T * B * seats, …) encoded observations
    value: Tensor  # (T, B, seats)
    after: Tensor  # (B, seats) of the turn after the stretch
    final: Tensor | None  # (T, B, seats) of last observations of truncated games, zero elsewhere; None: there are none
    memory: Memory  # (B * seats, …) memory after the stretch


def critic_view(observation: Tensor, seats: list[int], joint: bool) -> Tensor:
    """Returns the critic's input from observations (M, P, …).

    It is (M * seats, …), each seat's own, or if `joint` (M * seats, P, …), those of all seats with its own first.
    """
    if not joint:
        return select_seats(observation, seats, observation.shape[1])
    return torch.stack([observation.roll(-seat, dims=1) for seat in seats], dim=1).flatten(0, 1)


def estimate_values(critic: Any, part: SeatBatch, joint: bool, sequences: Sequences | None) -> Values:
    """Returns the critic's values in a stretch of play; with `sequences`, given the observations before."""
    trajectory, seats = part.trajectory, part.seats
    turns, games, _ = trajectory.reward.shape
    seat = torch.tensor(seats, device=trajectory.reward.device).repeat(turns * games)

    def show(observation: Tensor) -> Tensor:
        rows = critic_view(observation, seats, joint)
        return critic.encode(rows, seat[: len(rows)])

    rows, last, cut = show(trajectory.observation.flatten(0, 1)), show(part.after.observation), trajectory.truncated
    final_rows = show(trajectory.final[cut]) if trajectory.final is not None and cut.any() else None
    final = memory = None
    if sequences is None:
        value, after = critic(rows), critic(last)
        if final_rows is not None:
            final = critic(final_rows)
    else:
        value, memories = critic.unroll(rows.unflatten(0, (turns, -1)), *sequences[:3])
        after, _ = critic(last, memories[-1])
        if final_rows is not None:
            final, _ = critic(final_rows, select_memory(memories, cut))
        opens = part.after.done.repeat_interleave(len(seats))
        memory = choose_rows(opens, critic.initial_memory(len(opens)), memories[-1])
    if final is not None:
        final = spread_rows(final.view(-1, len(seats)), cut)
    return Values(rows, value.view(turns, games, -1), after.view(games, -1), final, memory)


def select_memory(memories: Sequence[Memory], games: Tensor) -> Memory:
    """Returns the memory (M, …) in some games (T, B), from the memories (B * seats, …) after each of T turns."""
    return map_tree(lambda *each: torch.stack(each).unflatten(1, (games.shape[1], -1))[games].flatten(0, 1), *memories)


def unknown_endings(trajectory: Trajectory, seats: list[int]) -> Tensor | None:
    """Returns where games are truncated while a seat waits, (T, B, seats); None: nowhere. See `gae`."""
    if trajectory.final_acting is None:
        return None
    return trajectory.truncated[..., None] & ~trajectory.final_acting[..., seats]


def sequences_of(part: SeatBatch, memory: Memory) -> Sequences:
    """Returns the structure of the sequences of some seats, which start with a memory (B * seats, …)."""
    opens = part.trajectory.opens.repeat_interleave(len(part.seats), dim=1)
    return Sequences(memory, opens, part.flat(part.trajectory.acting).view(len(opens), -1))


def collate(
    policy: Policy, part: SeatBatch, values: Values, advantages: Advantages, shared_rows: bool, memory: Memory
) -> tuple[PolicyBatch, CriticBatch]:
    """Returns the data of a policy and of its critic, by the policy's unit: decisions whose outcome is known.

    Sequences do not act in others, either: these are the last ones in a game or stretch, so what is remembered of them
    does not matter. With `shared_rows` both have the same rows. `memory` is the critic's memory at the first turn.
    """
    trajectory = part.trajectory
    turns, games, _ = trajectory.reward.shape
    if shared_rows:
        rows = values.rows
    else:
        seat = torch.tensor(part.seats, device=values.rows.device).repeat(turns * games)
        rows = policy.encode(part.flat(trajectory.observation), seat)
    legal = None if trajectory.legal is None else part.flat(trajectory.legal)
    action, log_prob = part.flat(trajectory.action), part.flat(trajectory.log_prob)
    ratio = None if part.ratio is None else part.flat(part.ratio[..., None].expand_as(trajectory.log_prob))
    advantage, known = (each.flatten() for each in advantages)
    error = advantage
    if part.rho is not None:
        rho = part.rho.flatten()
        ratio, error = rho if ratio is None else rho * ratio, rho * advantage
    decisions = PolicyBatch(rows, legal, action, log_prob, advantage, ratio)
    estimates = CriticBatch(values.rows, error + values.value.flatten(), values.value.flatten())
    if policy.unit == "sequence":
        sequences = sequences_of(part, memory)._replace(acting=known.view(turns, -1))
        memory_in_play = join_seats([trajectory.memory[seat] for seat in part.seats])
        return in_order(decisions, sequences._replace(memory=memory_in_play)), in_order(estimates, sequences)
    if trajectory.draws is not None:
        team = Team(known.view(-1, len(part.seats)), map_tree(lambda each: each.flatten(0, 1), trajectory.draws))
        return in_teams(decisions, team), in_teams(estimates, team._replace(draws=None))
    if known.all():
        return decisions, estimates
    return select_units(decisions, known), select_units(estimates, known)


def in_order(batch: Batch, sequences: Sequences) -> Batch:
    """Returns rows (T * N, …) as sequences (T, N, …), with their structure."""
    columns = [None if each is None else each.unflatten(0, sequences.acting.shape) for each in batch[:-2]]
    return type(batch)(*columns, sequences)  # type: ignore[call-arg, arg-type]


def in_teams(batch: Batch, team: Team) -> Batch:
    """Returns rows (N * P, …) as joint decisions (N, P, …) of a team."""
    columns = [None if each is None else each.unflatten(0, team.acting.shape) for each in batch[:-2]]
    return type(batch)(*columns, None, team)  # type: ignore[call-arg, arg-type]
