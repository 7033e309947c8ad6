"""Policies with critics, and memories of the games that they learn from."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from marl_engine.networks.normalisation import NormalisedCritic
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.trees import choose_rows, map_tree, match_layout, spread_rows
from marl_engine.policies.weights import digest_weights
from marl_engine.responders.batches import CriticBatch, PolicyBatch, SeatBatch, select_decisions
from marl_engine.responders.collation import sequences_of
from marl_engine.types import Memory, Policy

NORMALISATIONS = ("none", "running", "popart")  # of values


class ActorCritic:
    """A policy with its critic, the optimisers of both, and memories of the games of each line-up.

    These are the memory of the critic, and those of the policies that the learner is regularised towards, which are
    identified by their weights. The policy is saved with its profile. `normalisation` is one of NORMALISATIONS; `decay`
    is that of the statistics of values.
    """

    STATE = ("critic", "policy_optimiser", "critic_optimiser", "memory", "others")

    def __init__(self, policy: Policy, network: Any, normalisation: str = "none", decay: float = 1.0):
        self.normalised: NormalisedCritic | None = None
        if normalisation != "none":
            device = next(iter(network.parameters())).device
            self.normalised = NormalisedCritic(network, preserve=normalisation == "popart", decay=decay).to(device)
        self.policy, self.critic = policy, self.normalised or network
        self.policy_optimiser, self.critic_optimiser = Adam(policy), Adam(self.critic)
        self.memory: dict[str, Memory] = {}  # by the name of the line-up, (B * seats, …)
        self.others: dict[str, dict[str, Memory]] = {}  # by the name of the line-up and the digest of the weights

    @property
    def value_unit(self) -> float:
        """The unit in which the critic learns values: their standard deviation, or 1."""
        return 1.0 if self.normalised is None else self.normalised.moments.std.item()

    def renormalise(self, estimates: CriticBatch) -> CriticBatch:
        """Takes the targets of the critic into the statistics of values, if there are any."""
        if self.normalised is None:
            return estimates
        target = select_decisions(estimates, estimates.target)
        return estimates._replace(value=self.normalised.renormalise(target, estimates.value))

    def observe(self, decisions: PolicyBatch, estimates: CriticBatch) -> None:
        """Takes what was learned from into the statistics of observations; see `Policy.observe`."""
        self.policy.observe(select_decisions(decisions, decisions.rows))
        self.critic.observe(select_decisions(estimates, estimates.rows))

    def critic_memory(self, part: SeatBatch) -> Memory:
        """Returns the critic's memory (B * seats, …) at the first turn of a stretch of play; None without a memory."""
        if self.policy.unit != "sequence":
            return None
        initial = self.critic.initial_memory(len(part.after.done) * len(part.seats))
        return match_layout(initial, self.memory.get(part.lineup))

    def add_others(self, batch: PolicyBatch, others: Sequence[Policy], part: SeatBatch) -> PolicyBatch:
        """Returns the batch with what other policies remember at its first turn, and their log-probabilities.

        Their memories after the last turn are kept. A policy starts with its own memory at the end of the previous
        batch. If it was not in that batch, like a copy of the learner made since, it starts with the learner's memory,
        or with its initial memory if the layouts differ.
        """
        if batch.sequences is None:
            return batch
        known, (_, opens, acting, *_) = self.others.get(part.lineup, {}), sequences_of(part, None)
        over = part.after.done.repeat_interleave(len(part.seats))
        memories = tuple(begin_memory(other, known, batch.sequences.memory, len(over)) for other in others)
        self.others[part.lineup], log_probs = {}, []
        for other, memory in zip(others, memories, strict=True):
            distribution, last = other.unroll(batch.rows, batch.legal, memory, opens, acting)
            note_memory(self.others[part.lineup], other, choose_rows(over, other.initial_memory(len(over)), last))
            log_probs.append(map_tree(partial(spread_rows, mask=acting), distribution.log_probs))
        return batch._replace(sequences=batch.sequences._replace(others=memories, log_probs=tuple(log_probs)))


def begin_memory(policy: Policy, known: Mapping[str, Memory], learner: Memory, count: int) -> Memory:
    """Returns the memory (count, …) with which a policy, or each of its parts, starts a batch; see `add_others`."""
    initial = policy.initial_memory(count)
    if initial is None:
        return None
    if policy.parts:
        return tuple(begin_memory(part, known, learner, count) for part in policy.parts)
    return match_layout(initial, known.get(digest_weights(policy)), learner)


def note_memory(known: dict[str, Memory], policy: Policy, memory: Any) -> None:
    """Stores the memory of a policy, or of each of its parts, by the digest of its weights."""
    if memory is None:
        return
    if not policy.parts:
        known[digest_weights(policy)] = memory
    for part, each in zip(policy.parts, memory if policy.parts else (), strict=True):
        note_memory(known, part, each)
