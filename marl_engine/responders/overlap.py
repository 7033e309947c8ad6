"""Overlap of play and learning: workers play the next stretch while a learner learns from the last one.

A stretch that is played ahead is played with the weights before the update that takes place meanwhile. So what is
learned from is one update old, never more; `vtrace` corrects the difference (Espeholt et al. 2018, arXiv:1802.01561). A
stretch played ahead is used only if policies and opponents are still those that the last step left, as their weights
tell. Otherwise it is thrown away and its games go on from where it began. If opponents change in a step, nothing is
played ahead in it.

A checkpoint has the weights with which a stretch is being played, not the stretch, which is played again from them.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import torch

from marl_engine.errors import Refused
from marl_engine.numerics.state import get_fields
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.weights import copy_with_profile_state, digest_weights, profile_state
from marl_engine.responders.batches import SeatBatch
from marl_engine.rollout.likelihood import action_log_probs
from marl_engine.rollout.sharded_stream import Played, Stretch, play_shard
from marl_engine.runners import BackgroundRunner
from marl_engine.types import Metrics, Opponents, Policy, Profile

RHO = 1.0  # at which the ratios of V-trace are truncated: both rho-bar and c-bar, as in the paper

Plan: TypeAlias = Callable[[Profile], Sequence[Stretch]]
"""Returns what the shards of all line-ups play next if a profile learns."""


class Ahead:
    """The stretch that is played ahead, if there is one."""

    STATE = ("learners", "opponents", "weights")

    def __init__(self, runner: BackgroundRunner):
        self.runner = runner
        self.learners = ""  # digest of the policies that the last step left
        self.opponents = ""  # digest of its opponents
        self.weights: Any = None  # of the policies that play ahead; None: nothing is played
        self.wait: Callable[[], list[Played]] | None = None  # for what they play; None: it is played when it is needed

    def take(self, profile: Profile, opponents: Opponents | None, plan: Plan) -> list[Played] | None:
        """Returns what was played ahead for a step, of each shard; None if there is nothing for it."""
        weights, wait, self.weights, self.wait = self.weights, self.wait, None, None
        same = (digest_profile(profile), digest_opponents(opponents)) == (self.learners, self.opponents)
        if weights is None or not same:
            return None
        if wait is None:
            wait = self.runner.start(play_shard, plan(copy_with_profile_state(profile, weights)))
        return wait()

    def start(self, profile: Profile, opponents: Opponents | None, plan: Plan) -> None:
        """Plays ahead for the next step, unless its opponents are likely to be others."""
        before, self.opponents = self.opponents, digest_opponents(opponents)
        if self.opponents == before:
            players = freeze(profile)
            self.weights, self.wait = profile_state(players), self.runner.start(play_shard, plan(players))

    def note_update(self, profile: Profile) -> None:
        """Takes note of the policies that a step leaves."""
        self.learners = digest_profile(profile)

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint."""
        return get_fields(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the state. What is played ahead is played again when it is needed."""
        vars(self).update(state)
        self.wait = None


def digest_profile(profile: Profile) -> str:
    """Returns a text that tells the policies in the seats of a profile from others."""
    digests = {policy: f"{type(policy).__name__} {digest_weights(policy)}" for policy in dict.fromkeys(profile)}
    return ", ".join(digests[policy] for policy in profile)


def digest_opponents(opponents: Opponents | None) -> str:
    """Returns a text that tells opponents and their weights from others; empty if there are none."""
    if opponents is None:
        return ""
    text = "; ".join(f"{weight!r}: {digest_profile(each)}" for each, weight in zip(*opponents, strict=True))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def check_policies(profile: Profile, key: str = "runner.overlap=true") -> None:
    """Raises Refused for policies of teams, whose losses are no sums over decisions. `key` needs others."""
    for policy in profile:
        if policy.unit == "team":
            name = type(policy).__name__
            raise Refused(f"{key} needs policies that decide for single seats, such as policy=network, not {name}")


@torch.no_grad()
def correct(policy: Policy, part: SeatBatch) -> SeatBatch:
    """Returns stale data with the log-probabilities of the policy that learns, and the ratios rho of V-trace.

    These are 1 where a seat did not act.
    """
    if not part.stale:
        return part
    trajectory = part.trajectory
    log_prob = trajectory.log_prob.clone()
    for seat in part.seats:
        now = action_log_probs(policy, trajectory, seat)
        log_prob[..., seat] = now.where(trajectory.acting[..., seat], log_prob[..., seat])
    rho = (log_prob - trajectory.log_prob)[..., part.seats].exp().clamp(max=RHO)
    return part._replace(trajectory=trajectory._replace(log_prob=log_prob), rho=rho)


def measure_correction(parts: Sequence[SeatBatch]) -> Metrics:
    """Returns the mean of rho in the decisions of stale data, if there are any."""
    rhos = [part.rho[part.trajectory.acting[..., part.seats]] for part in parts if part.rho is not None]
    return {"rho": torch.cat(rhos).mean().item()} if rhos else {}
