"""Pools: frozen teams that a learner may meet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.weights import copy_with_weights
from marl_engine.types import Opponents, Policy, Profile


class Pool:
    """Frozen teams that a learner may meet; all consist of policies like those of `profile`."""

    STATE = ("members",)

    def __init__(self, profile: Profile):
        self.profile = profile
        self.members: list[list[Policy]] = [[] for _ in profile]  # of each seat; member k sits in all of them

    def __len__(self) -> int:
        return len(self.members[0])

    def add(self, team: Profile) -> None:
        """Adds a copy of a team."""
        for policies, policy in zip(self.members, team, strict=True):
            policies += freeze([policy])

    def add_all(self, teams: Iterable[Profile]) -> None:
        """Adds copies of several teams."""
        for team in teams:
            self.add(team)

    def opponents(self, weights: Sequence[float] | None = None) -> Opponents:
        """Returns the teams with weights, which are equal by default."""
        teams = [list(team) for team in zip(*self.members, strict=True)]
        return Opponents(teams, [1 / len(teams)] * len(teams) if weights is None else weights)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Makes the members from copies of the policies of the profile; see `set_state`."""
        pairs = zip(self.profile, state["members"], strict=True)
        self.members = [[copy_with_weights(policy, weights) for weights in saved] for policy, saved in pairs]
