"""Profiles that stand still: what a solver starts from, is drawn to, or was a moment ago."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch

from marl_engine.policies.language.generation import GeometricMixture
from marl_engine.policies.tabular import TablePolicy, fill_tables, geometric_mean_strategy
from marl_engine.types import Profile


def freeze(profile: Profile) -> Profile:
    """A copy that stays as it is; a policy in several seats stays one policy."""
    copies = deepcopy(profile)
    for policy in copies:
        policy.requires_grad_(False)
    return copies


def mix_geometrically(profile: Profile, other: Profile, weight: float) -> Profile:
    """The geometric mixture ~ profile^(1 - weight) * other^weight, decision by decision, or token by token.

    Raises ValueError for policies that are neither tables nor write answers.
    """
    if all(policy.generates for policy in [*profile, *other]):
        return [GeometricMixture(one, two, weight) for one, two in zip(profile, other, strict=True)]  # type: ignore[arg-type]
    if not all(isinstance(policy, TablePolicy) for policy in [*profile, *other]):
        raise ValueError("only tables and policies that answer can be mixed; not these")
    mixture = freeze(profile)
    fill_tables(mixture, geometric_mean_strategy(profile, other, weight))
    return mixture


@torch.no_grad()
def interpolate_weights(profile: Profile, other: Profile, weight: float) -> None:
    """Moves the numbers of each policy a share `weight` of the way towards those of another profile's."""
    for policy, target in dict(zip(profile, other, strict=True)).items():
        numbers = target.state_dict()
        for name, each in policy.state_dict().items():
            if each.is_floating_point():  # else it is how observations are read, which is the same for both
                each.lerp_(numbers[name], weight)


class FrozenReference:
    """The profile that a solver was given when it began, also after it was stopped and goes on."""

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.saved: list[dict[str, Any]] = []

    def of(self, profile: Profile, after: int) -> Profile:
        """A copy of the profile, for a solver that begins; for one that goes on, the copy that it began with."""
        if after == 0:
            self.profile, self.saved = None, []
        if self.profile is None:
            self.profile = freeze(profile)
            for policy, weights in zip(self.profile, self.saved, strict=False):
                policy.load_state_dict(weights)
        return self.profile

    def moved(self, profile: Profile) -> Profile:
        """A copy of the profile, which is the reference from now on."""
        self.profile = freeze(profile)
        return self.profile

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {} if self.profile is None else {"reference": [policy.state_dict() for policy in self.profile]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.profile, self.saved = None, list(state.get("reference", []))
