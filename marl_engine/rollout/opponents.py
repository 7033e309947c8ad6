"""Play against several opponents: each copy draws a profile when a game opens, and keeps it until the game is done.

Copies that meet the same policy are played in one batch, so a turn costs one call of each policy.
"""

from itertools import product, zip_longest
from math import prod

import torch
from torch import Tensor

from marl_engine.numerics.distributions.choice import choose
from marl_engine.numerics.rng import draw_uniforms, mix_bits
from marl_engine.numerics.trees import choose_rows, map_tree, same_layout
from marl_engine.policies.mixtures.population import weighted_members
from marl_engine.rollout.seating import SeatMemory, recall, split_seats
from marl_engine.types import Memory, Opponents, Policy, Profile, Turn

DRAWS = 2**42  # separates the noise of these draws from that of actions
LARGEST = 10_000  # profiles that the mixtures of several seats are expanded to


def draw_members(opponents: Opponents, seeds: Tensor, number: int) -> Tensor:
    """Returns the members (B,) int64 drawn by copies with seeds (B,) for games that open at decision `number`.

    Each is a function of the seed and the number.
    """
    noise = draw_uniforms(mix_bits(seeds + DRAWS), number, 1, 1)[0, :, 0].double()
    edges = torch.tensor(opponents.weights, dtype=torch.float64, device=seeds.device).cumsum(0)
    return torch.searchsorted(edges, noise * edges[-1], right=True).clamp(max=len(opponents.members) - 1)


def expand_mixtures(opponents: Opponents) -> Opponents:
    """Returns opponents in which each combination of members of mixtures is a profile, as seats draw independently.

    A mixture calls all its members in every turn, and a profile only those that play. Mixtures with more than LARGEST
    combinations are kept.
    """
    members: list[Profile] = []
    weights: list[float] = []
    for profile, weight in zip(*opponents, strict=True):
        options = [weighted_members(policy) for policy in profile]
        if prod(map(len, options)) > LARGEST:
            return opponents
        for combination in product(*options):
            members.append([policy for policy, _ in combination])
            weights.append(weight * prod(share for _, share in combination))
    return Opponents(members, weights)


def seat_learner(opponents: Opponents, profile: Profile, seat: int) -> Opponents:
    """Returns the opponents with the policy of a profile in one seat."""
    members = [[*member[:seat], profile[seat], *member[seat + 1 :]] for member in opponents.members]
    return Opponents(members, opponents.weights)


def merge_layout(trees: list[Memory], tree: Memory, rows: Tensor) -> None:
    """Copies rows (B,) of a tree into the tree with the same layout, or appends the tree if there is none."""
    for number, each in enumerate(trees):
        if same_layout(each, tree):
            trees[number] = choose_rows(rows, tree, each)
            return
    trees.append(map_tree(torch.clone, tree))


class OpponentSeating:
    """The policies in the seats of B games, which differ between copies; see `seating.Seating`.

    `member` (B,) int64 is the profile that each copy plays against at decision `number`. A copy whose member is not
    among the opponents, such as -1, draws one. `memory` is that of the seats, as in `Seating`.
    """

    def __init__(self, opponents: Opponents, seeds: Tensor, number: int, member: Tensor, memory: SeatMemory = ()):
        self.opponents, self.seeds, self.number = opponents, seeds, number
        self.profile = opponents.members[0]
        self.draws: Memory = None  # seats of a team act on their own
        self.policies: list[Policy] = list(dict.fromkeys(policy for each in opponents.members for policy in each))
        numbers = {policy: number for number, policy in enumerate(self.policies)}
        places = [[numbers[policy] for policy in each] for each in opponents.members]
        self.places = torch.tensor(places, device=seeds.device)  # (K, P) the policy in each seat of each member
        seats = range(len(self.profile))
        self.initial = [policy.initial_memory(len(seeds) * len(seats)) for policy in self.policies]
        self.memory = [  # of each policy in all seats of all copies, (B * P, …)
            recall(each, memory, seats) if memory else map_tree(torch.clone, each) for each in self.initial
        ]
        self.remembers = torch.tensor([each is not None for each in self.memory], device=seeds.device)
        is_member = (member >= 0) & (member < len(places))
        self.member = torch.where(is_member, member, draw_members(opponents, seeds, number))

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (B, P) or (B, P, D) and log-probabilities (B, P), from noise in [0, 1) of their shape.

        Policies without memory are only asked where seats act, if any do; elsewhere the results are 0.
        """
        if turn.done.any():
            self._open(turn.done)
        self.number += 1
        legal = None if turn.legal.all() else turn.legal.flatten(0, 1)
        seated = self.places[self.member]  # (B, P)
        acting = turn.acting if turn.acting.any() else torch.ones_like(turn.acting)
        asked = torch.where(acting | self.remembers[seated], seated, -1).flatten()
        idle, *counts = torch.bincount(asked + 1, minlength=len(self.policies) + 1).tolist()
        rows = asked.argsort(stable=True)[idle:]  # of B * P seats, those of each policy together
        observation, noise = (each.flatten(0, 1)[rows] for each in (turn.observation, noise))
        decided, end = [], 0
        for place, count in enumerate(counts):
            if count:
                here, end = slice(end, end + count), end + count
                decided.append(
                    self._decide(place, rows[here], observation[here], noise[here], turn.acting, legal, greedy)
                )
        actions, log_probs = (torch.cat(each) for each in zip(*decided, strict=True))
        action = torch.zeros(len(asked), *actions.shape[1:], dtype=actions.dtype, device=noise.device)
        log_prob = torch.zeros(len(asked), device=noise.device)
        action[rows], log_prob[rows] = actions, log_probs
        return action.unflatten(0, seated.shape), log_prob.view(seated.shape)

    def _open(self, opens: Tensor) -> None:
        """Draws members for copies (B,) whose games open, and clears their memory."""
        self.member = torch.where(opens, draw_members(self.opponents, self.seeds, self.number), self.member)
        self._clear(opens)

    def _clear(self, opens: Tensor) -> None:
        """Clears the memory of policies in copies (B,) whose games open."""
        rows = opens.repeat_interleave(len(self.profile))
        self.memory = [choose_rows(rows, *each) for each in zip(self.initial, self.memory, strict=True)]

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the seats before a turn."""
        self._open(turn.done)
        seated, players = self.places[self.member], len(self.profile)
        seats: list[list[Memory]] = [[] for _ in range(players)]  # the trees of each, one for each layout
        for place, memory in enumerate(self.memory):
            for seat, tree in enumerate(split_seats(memory, players)):
                if (self.places[:, seat] == place).any():
                    merge_layout(seats[seat], tree, seated[:, seat] == place)
        return tuple(zip_longest(*seats))

    def _decide(
        self,
        place: int,
        rows: Tensor,
        observation: Tensor,
        noise: Tensor,
        acting: Tensor,
        legal: Tensor | None,
        greedy: bool,
    ) -> tuple[Tensor, Tensor]:
        """Returns actions (N, …) and log-probabilities (N,) of one policy, in rows (N,) of all seats of all copies.

        `observation` and `noise` are those of the rows; `acting` (B, P) and `legal` (B * P, A) those of all.
        """
        policy = self.policies[place]
        legal_rows = None if legal is None else legal[rows]
        memory = map_tree(lambda each: each[rows], self.memory[place])
        encoded = policy.encode(observation, rows % len(self.profile))
        distribution, after = policy(encoded, legal_rows, memory)
        action, log_prob = choose(distribution, noise, greedy)
        if memory is not None:
            after = choose_rows(acting.flatten()[rows], policy.remember(after, distribution, action), memory)
            map_tree(lambda each, new: each.index_put_((rows,), new), self.memory[place], after)
        return action, log_prob
