"""Frozen profiles, and geometric mixtures of profiles."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.policies.language.generation import GeometricMixture
from marl_engine.policies.tabular import TablePolicy, fill_tables, geometric_mean_strategy
from marl_engine.types import Memory, Policy, Profile


def freeze(profile: Profile) -> Profile:
    """A copy that stays as it is; a policy in several seats stays one policy."""
    copies = deepcopy(profile)
    for policy in copies:
        policy.requires_grad_(False)
    return copies


class GeometricMixturePolicy(Policy):
    """pi(a | s) ~ first(a | s)^(1 - weight) * second(a | s)^weight, for two policies with the same `encode`."""

    def __init__(self, first: Policy, second: Policy, weight: float):
        super().__init__()
        self.first, self.second, self.weight = first, second, weight
        self.parts, self.tabular = (first, second), first.tabular and second.tabular
        self.unit = "sequence" if "sequence" in (first.unit, second.unit) else "decision"

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.first.encode(observation, seat)

    def initial_memory(self, count: int) -> Memory:
        """The memories of both policies; None where neither has one."""
        memory = (self.first.initial_memory(count), self.second.initial_memory(count))
        return None if memory == (None, None) else memory

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        first, second = (None, None) if memory is None else memory
        (one, first), (two, second) = self.first(rows, None, first), self.second(rows, None, second)
        return Categorical(torch.lerp(one.logits, two.logits, self.weight), legal), memory and (first, second)

    def unroll(
        self, rows: Tensor, legal: Tensor | None, memory: Any, opens: Tensor, acting: Tensor
    ) -> tuple[Categorical, Memory]:
        (one, first), (two, second) = (
            part.unroll(rows, None, each, opens, acting) for part, each in zip(self.parts, memory, strict=True)
        )
        logits = torch.lerp(cast(Categorical, one).logits, cast(Categorical, two).logits, self.weight)
        return Categorical(logits, None if legal is None else legal[acting]), (first, second)


def mix_geometrically(profile: Profile, other: Profile, weight: float) -> Profile:
    """The geometric mixture ~ profile^(1 - weight) * other^weight, decision by decision, or token by token.

    A policy that sits in several seats gives one mixture there. Raises ValueError for policies whose actions consist of
    several numbers, for those of teams, and for mixtures of a population, whose memory depends on what they did.
    """
    if all(policy.generates for policy in [*profile, *other]):
        return [GeometricMixture(one, two, weight) for one, two in zip(profile, other, strict=True)]  # type: ignore[arg-type]
    if all(isinstance(policy, TablePolicy) for policy in [*profile, *other]):
        mixture = freeze(profile)
        fill_tables(mixture, geometric_mean_strategy(profile, other, weight))
        return mixture
    if any(policy.noise_shape for policy in [*profile, *other]):
        raise ValueError(
            "policies whose actions consist of several numbers have no geometric mixture; their game does not fit"
        )
    if any(policy.unit == "team" for policy in [*profile, *other]):
        raise ValueError("policies of a team have no geometric mixture: their seats see each other's actions")
    if any(type(policy).remember is not Policy.remember for policy in [*profile, *other]):
        raise ValueError("mixtures of a population have no geometric mixture; take one of their members")
    pairs = list(zip(profile, other, strict=True))
    mixtures = {pair: GeometricMixturePolicy(*pair, weight) for pair in pairs}
    return [mixtures[pair] for pair in pairs]


def extrapolate(profile: Profile, start: Profile, end: Profile, share: float) -> None:
    """Moves a profile to `end` and on by a share of the way from `start`: profile ~ end * (end / start)^share.

    Exact for tables and for tables of logits. The parameters of networks are extrapolated, which is the same to first
    order.
    """
    if all(isinstance(policy, TablePolicy) for policy in [*profile, *start, *end]):
        fill_tables(profile, geometric_mean_strategy(end, start, -share))
        return
    interpolate_weights(profile, end, 1.0)
    lerp_weights(profile, start, -share)


@torch.no_grad()
def interpolate_weights(profile: Profile, other: Profile, weight: float) -> None:
    """Moves the weights of each policy a share `weight` of the way towards those of another profile's.

    What describes observations, such as their running mean, is copied from the other profile.
    """
    lerp_weights(profile, other, weight)
    for policy, target in dict(zip(profile, other, strict=True)).items():
        numbers, learned = target.state_dict(), learned_weights(policy)
        for name, each in policy.state_dict().items():
            if name not in learned:
                each.copy_(numbers[name])


@torch.no_grad()
def lerp_weights(profile: Profile, other: Profile, weight: float) -> None:
    """Moves the weights of each policy, and nothing else; see `interpolate_weights`."""
    for policy, target in dict(zip(profile, other, strict=True)).items():
        numbers = learned_weights(target)
        for name, each in learned_weights(policy).items():
            each.lerp_(numbers[name], weight)


def learned_weights(policy: Policy) -> dict[str, Tensor]:
    """Returns the parameters of a policy; those of a table, which has none, are its probabilities."""
    return dict(policy.named_parameters()) or policy.state_dict()
