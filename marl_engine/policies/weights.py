"""Saving, loading, copying and comparing the weights of policies."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from hashlib import blake2b
from typing import Any, NamedTuple

import torch

from marl_engine.numerics.adam import Adam
from marl_engine.numerics.state import get_state, load_weights, set_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import is_mixture, restore_policy
from marl_engine.types import Policy, Profile


def weights_equal(one: Policy, other: Policy) -> bool:
    """Whether two policies of a kind have the same weights."""
    return states_equal(one.state_dict(), other.state_dict())


def states_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states have the same names and tensors."""
    return one.keys() == other.keys() and all(torch.equal(each, other[name]) for name, each in one.items())


def policies_equal(one: Policy, other: Policy) -> bool:
    """Whether two policies are of a kind, and have the same weights."""
    return one is other or (type(one) is type(other) and weights_equal(one, other))


def digest_weights(policy: Policy) -> str:
    """A text that tells the weights of a policy from others."""
    digest = blake2b(digest_size=16)
    for weights in policy.state_dict().values():
        digest.update(weights.cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def copy_with_weights(policy: Policy, weights: Mapping[str, Any]) -> Policy:
    """A frozen copy of a policy, with other weights. Raises ValueError if they do not fit."""
    (copy,) = freeze([policy])
    load_weights(copy, weights, "policy")
    return copy


def profile_state(profile: Profile) -> dict[str, Any]:
    """The weights of the different policies of a profile, and which seat has which."""
    different = list(dict.fromkeys(profile))
    return {
        "policies": [policy.state_dict() for policy in different],
        "seats": [different.index(policy) for policy in profile],
    }


def load_profile_state(profile: Profile, state: Mapping[str, Any]) -> None:
    """Loads saved weights into a profile made from the same configuration; mixtures replace its policies.

    Raises ValueError for weights of other policies.
    """
    different = len(set(profile))
    if not any(map(is_mixture, state["policies"])) and len(state["policies"]) != different:
        raise ValueError(f"there are weights of {len(state['policies'])} policies, not of {different}")
    profile[:] = _restore_profile(profile, state)


def copy_with_profile_state(profile: Profile, state: Mapping[str, Any]) -> Profile:
    """Returns frozen copies of the policies of a profile with saved weights, or the mixtures that were saved.

    Seats share a policy if they did when it was saved. Raises ValueError for weights of other policies.
    """
    return _restore_profile(profile, state, frozen=True)


def _restore_profile(profile: Profile, state: Mapping[str, Any], frozen: bool = False) -> Profile:
    """Returns the policies of a profile, or frozen copies, with saved weights in the seats in which they were saved."""
    seats = state["seats"]
    if len(seats) != len(profile):
        raise ValueError(f"there are weights for {len(seats)} seats, not for {len(profile)}")
    policies = [profile[seats.index(number)] for number in range(len(state["policies"]))]
    if frozen:
        policies = [freeze([policy])[0] for policy in policies]
    restored = [restore_policy(*each) for each in zip(policies, state["policies"], strict=True)]
    return [restored[number] for number in seats]


class Snapshot(NamedTuple):
    """Copies of weights and optimisers."""

    weights: dict[str, Any]
    optimisers: list[dict[str, Any]]


def take_snapshot(profile: Profile, optimisers: Sequence[Adam] = ()) -> Snapshot:
    """Copies of the weights of a profile and of the states of optimisers."""
    return Snapshot(deepcopy(profile_state(profile)), [deepcopy(get_state(each)) for each in optimisers])


def load_snapshot(snapshot: Snapshot, profile: Profile, optimisers: Sequence[Adam] = ()) -> None:
    """Restores weights and optimisers, which must be those of which the snapshot was taken."""
    load_profile_state(profile, snapshot.weights)
    for optimiser, state in zip(optimisers, snapshot.optimisers, strict=True):
        set_state(optimiser, state)
