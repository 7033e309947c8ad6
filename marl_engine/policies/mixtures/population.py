"""Mixtures of whole policies: a member is drawn when a game opens, and plays until it is done.

The mixture plays the equivalent behavior strategy (Kuhn 1953): in each decision the weight of a member is its posterior
probability given its own earlier actions in the game. Tables are mixed into one table, exactly.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.state import load_weights
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.tabular import TablePolicy, average_strategy, fill_tables
from marl_engine.types import Memory, Policy, Profile


class MixtureCategorical(Categorical):
    """The distributions (N,) of a mixture, with the log-probabilities (N, K, A) of its members."""

    def __init__(self, belief: Tensor, members: Tensor, legal: Tensor | None):
        super().__init__(torch.logsumexp(belief[:, :, None] + members, dim=1), legal)
        self.members = members


class MixturePolicy(Policy):
    """Plays as one of K frozen members, drawn with `weights` (K,) when a game opens.

    Its memory is that of its members and `belief` (N, K): the logarithms of the members' weights after the actions so
    far.
    """

    mixture: Tensor

    def __init__(self, members: Sequence[Policy], weights: Sequence[float]):
        super().__init__()
        self.members: Any = nn.ModuleList(members)
        device = next(iter(members[0].state_dict().values())).device
        self.register_buffer(
            "mixture", torch.tensor([float(each) for each in weights], dtype=torch.float64, device=device)
        )
        self.tabular = all(member.tabular for member in members)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.members[0].encode(observation, seat)

    def initial_memory(self, count: int) -> Memory:
        belief = self.mixture.log().float().expand(count, -1).clone()
        return {"belief": belief, "members": tuple(member.initial_memory(count) for member in self.members)}

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None
    ) -> tuple[MixtureCategorical, Memory]:
        """Plays one turn; without memory it is the first one of a game."""
        remembered: Any = self.initial_memory(len(rows)) if memory is None else memory
        pairs = [member(rows, legal, each) for member, each in zip(self.members, remembered["members"], strict=True)]
        likely = torch.stack([distribution.log_probs for distribution, _ in pairs], dim=1)
        after = {"belief": remembered["belief"], "members": tuple(each for _, each in pairs)}
        return MixtureCategorical(remembered["belief"], likely, legal), after

    def remember(self, memory: Any, distribution: Any, action: Tensor) -> Memory:
        """Returns the memory after actions (N,): weights are multiplied by the members' probabilities."""
        index = action[:, None, None].expand(-1, len(self.members), 1)
        belief = memory["belief"] + distribution.members.gather(-1, index)[..., 0]
        return {**memory, "belief": belief.log_softmax(-1)}


def mix_members(members: Sequence[Sequence[Policy]], mixtures: Sequence[Any]) -> Profile:
    """Returns the profile in which each seat draws one of its members (K,) with its weights (K,).

    Members with weight 0 are left out, and mixtures among members are resolved. Raises ValueError; see
    `check_mixable`.
    """
    if all(isinstance(policy, TablePolicy) for policies in members for policy in policies):
        profile = freeze([policies[0] for policies in members])
        fill_tables(profile, average_strategy(members, mixtures))
        return profile
    check_mixable([policy for policies in members for policy in policies])
    return [_mix(*each) for each in zip(members, mixtures, strict=True)]


def check_mixable(policies: Sequence[Policy]) -> None:
    """Raises ValueError for language policies and for policies whose actions consist of several numbers."""
    if any(policy.generates for policy in policies):
        raise ValueError("language policies cannot be members of a mixture")
    if any(policy.noise_shape for policy in policies):
        raise ValueError("policies whose actions consist of several numbers cannot be members of a mixture")


def _mix(members: Sequence[Policy], mixture: Sequence[float]) -> MixturePolicy:
    """Returns the mixture (K,) of the members (K,) of one seat."""
    policies: list[Policy] = []
    weights: list[float] = []
    for member, weight in zip(members, mixture, strict=True):
        terms = [(each, float(weight) * share) for each, share in weighted_members(member) if weight * share > 0]
        policies += [freeze([each])[0] if is_learnable(each) else each for each, _ in terms]
        weights += [share for _, share in terms]
    return MixturePolicy(policies, weights)


def weighted_members(policy: Policy) -> list[tuple[Policy, float]]:
    """Returns the members of a mixture with their weights, or another policy itself with weight 1."""
    if not isinstance(policy, MixturePolicy):
        return [(policy, 1.0)]
    return list(zip(policy.members, policy.mixture.tolist(), strict=True))


def become_mixture(profile: Profile, members: Sequence[Sequence[Policy]], mixtures: Sequence[Any]) -> None:
    """Changes a profile in place to that of `mix_members`: tables are filled, other policies are replaced."""
    if all(isinstance(policy, TablePolicy) for policy in profile):
        fill_tables(profile, average_strategy(members, mixtures))
    else:
        profile[:] = mix_members(members, mixtures)


def begin_newcomers(profile: Profile) -> Profile:
    """Returns a trainable copy of the policy of each seat, or of the first member of a mixture."""
    first = [policy.members[0] if isinstance(policy, MixturePolicy) else policy for policy in profile]
    return [deepcopy(policy).requires_grad_() if list(policy.parameters()) else deepcopy(policy) for policy in first]


def is_learnable(policy: Policy) -> bool:
    """Whether a policy has parameters that are not frozen."""
    return any(each.requires_grad for each in policy.parameters())


def learnable_policies(profile: Profile) -> list[Policy]:
    """The different policies of a profile that have parameters which are not frozen."""
    return [policy for policy in dict.fromkeys(profile) if is_learnable(policy)]


def is_mixture(weights: Mapping[str, Any]) -> bool:
    """Whether saved weights are those of a mixture."""
    return "mixture" in weights


def restore_policy(policy: Policy, weights: Mapping[str, Any]) -> Policy:
    """Loads saved weights into a policy; returns a new mixture if they are those of a mixture.

    Raises ValueError for weights of another policy.
    """
    if is_mixture(weights):
        first = policy.members[0] if isinstance(policy, MixturePolicy) else policy
        members = [freeze([first])[0] for _ in weights["mixture"]]
        policy = MixturePolicy(members, weights["mixture"].tolist())
    load_weights(policy, weights, "policy")
    return policy
