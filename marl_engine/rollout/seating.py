"""The policies in the seats of games, and their memory: rows of all seats of a policy, or one tree for each seat."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from marl_engine.numerics.distributions.choice import choose
from marl_engine.numerics.trees import choose_rows, map_tree, match_layout, spread_rows
from marl_engine.policies.mixtures.noisy import blur, split_noise
from marl_engine.policies.team import decide_team
from marl_engine.types import Memory, Policy, Profile, Turn

SeatMemory: TypeAlias = tuple[tuple[Memory, ...], ...]
"""The memory of the seats of B games: layers of P trees (B, …).

There is one layer, unless policies with different layouts of memory play in a seat. Then each layout has its own layer,
in which the rows of other copies of the game have no meaning.
"""


def split_seats(memory: Memory, seats: int) -> list[Memory]:
    """Returns the memory of each seat, (B, …), from that of a policy in several seats, (N, …) game by game."""
    return [
        map_tree(lambda each, place=seat: each.unflatten(0, (-1, seats))[:, place], memory) for seat in range(seats)
    ]


def join_seats(memories: Sequence[Memory]) -> Memory:
    """The converse of `split_seats`."""
    return map_tree(lambda *each: torch.stack(each, dim=1).flatten(0, 1), *memories)


def recall(initial: Memory, memory: SeatMemory, seats: Sequence[int]) -> Memory:
    """Returns the memory (N, …) of a policy in some seats.

    Seats without a memory of the policy's layout get its initial memory.
    """
    trees = [
        match_layout(fresh, *(layer[seat] for layer in memory))
        for seat, fresh in zip(seats, split_seats(initial, len(seats)), strict=True)
    ]
    return join_seats(trees)


def group_by_policy(profile: Profile) -> list[tuple[Policy, list[int]]]:
    """Returns the different policies of a profile, each with its seats."""
    seats: dict[Policy, list[int]] = {}
    for seat, policy in enumerate(profile):
        seats.setdefault(policy, []).append(seat)
    return list(seats.items())


def select_seats(each: Tensor, seats: Sequence[int], players: int) -> Tensor:
    """Returns the rows (N, …) of some seats, game by game, from (B, P, …)."""
    if len(seats) == 1:  # a strided copy takes a sixth of the time of indexing by a list
        return each[:, seats[0]].contiguous()
    return (each if len(seats) == players else each[:, seats]).flatten(0, 1)


class Seating:
    """The policies in the seats of B games, and their memory from turn to turn.

    Policies that only add noise to another one are asked together with it. `memory` is that of the seats, as returned
    by `seat_memory`. A policy whose memory has another layout starts with its initial memory.
    """

    def __init__(self, profile: Profile, games: int, device: torch.device, memory: SeatMemory = ()):
        bases, noise = zip(*map(split_noise, profile), strict=True)
        self.profile, self.groups = profile, group_by_policy(list(bases))
        shares = [torch.tensor([[noise[seat]] for seat in seats], device=device) for _, seats in self.groups]
        self.noise = [each.repeat(games, 1) if each.any() else None for each in shares]  # (N, 1) of each group
        self.players, self.games = len(profile), games
        self.seat = [torch.tensor(seats, device=device).repeat(games) for _, seats in self.groups]
        self.initial = [policy.initial_memory(games * len(seats)) for policy, seats in self.groups]
        self.draws: Memory = None  # of a team in its last decision; see `TeamDecision`
        self.memory = list(self.initial)
        if memory:
            self.memory = [
                recall(initial, memory, seats) for initial, (_, seats) in zip(self.initial, self.groups, strict=True)
            ]

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (B, P, …) and log-probabilities (B, P), from noise in [0, 1) of the shape of actions."""
        legal = None if turn.legal.all() else turn.legal
        decided = [self._decide_group(party, turn, legal, noise, greedy) for party in range(len(self.groups))]
        if len(decided) == 1:
            return decided[0]
        first = decided[0][0]
        action = torch.empty(self.games, self.players, *first.shape[2:], dtype=first.dtype, device=noise.device)
        log_prob = torch.empty(self.games, self.players, device=noise.device)
        for (_, seats), (actions, log_probs) in zip(self.groups, decided, strict=True):
            action[:, seats], log_prob[:, seats] = actions, log_probs
        return action, log_prob

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the seats before a turn."""
        memory: list[Memory] = [None] * self.players
        for group, (_, seats) in enumerate(self.groups):
            for place, tree in zip(seats, split_seats(self._memory_at(group, turn.done), len(seats)), strict=True):
                memory[place] = tree
        return (tuple(memory),)

    def _decide_group(
        self, group: int, turn: Turn, legal: Tensor | None, noise: Tensor, greedy: bool
    ) -> tuple[Tensor, Tensor]:
        """Returns actions (B, seats) and log-probabilities of one policy.

        A policy without memory is only asked where seats act, if any do and they observe more than a number; elsewhere
        the results are 0.
        """
        policy, seats = self.groups[group]
        if policy.unit == "team" and len(seats) == self.players:
            action, log_prob, self.draws = decide_team(policy, turn, self.seat[group], legal, noise, greedy)
            return action, log_prob
        memory, acting = self._memory_at(group, turn.done), select_seats(turn.acting, seats, self.players)
        single = turn.observation.numel() == turn.acting.numel()
        everywhere = memory is not None or single or bool(acting.all()) or not acting.any()
        asked = slice(None) if everywhere else acting
        observation, noise = (select_seats(each, seats, self.players)[asked] for each in (turn.observation, noise))
        legal_rows = None if legal is None else select_seats(legal, seats, self.players)[asked]
        distribution, after = policy(policy.encode(observation, self.seat[group][asked]), legal_rows, memory)
        if (shares := self.noise[group]) is not None:
            distribution = blur(distribution, legal_rows, shares[asked])
        action, log_prob = choose(distribution, noise, greedy)
        self.memory[group] = after = policy.remember(after, distribution, action)
        if memory is not None and not acting.all():
            self.memory[group] = choose_rows(acting, after, memory)
        if not everywhere:
            action, log_prob = (spread_rows(each, acting) for each in (action, log_prob))
        return action.view(self.games, len(seats), *action.shape[1:]), log_prob.view(self.games, -1)

    def _memory_at(self, group: int, done: Tensor) -> Memory:
        """Returns a policy's memory (N, …), which is the initial one in games that have just opened."""
        if self.initial[group] is None or not done.any():
            return self.memory[group]
        opens = done.repeat_interleave(len(self.groups[group][1]))
        return choose_rows(opens, self.initial[group], self.memory[group])


class Seats(Protocol):
    """The policies in the seats of B games: `Seating` for one profile, `opponents.OpponentSeating` for several."""

    profile: Profile  # determines the noise
    draws: Memory  # of a team in the last decision

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]: ...

    def seat_memory(self, turn: Turn) -> SeatMemory: ...
