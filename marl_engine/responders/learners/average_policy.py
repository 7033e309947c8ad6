"""Average policies: networks that learn by supervision how a learner has acted on average.

Heinrich and Silver 2016 (arXiv:1603.01121, section 3.2). The negative log-likelihood of the decisions in a reservoir is
minimised, which is a uniform sample of all decisions so far. In an information set each of the learner's strategies
counts as often as it led there. Against opponents that stay the same, the policy thus approaches the average in
sequence form, of which theory speaks. Linear and quadratic averaging keep later decisions more often, and forget the
first strategies sooner, as CFR+ does (Tammelin 2014, arXiv:1407.5042).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import is_dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from marl_engine.numerics.adam import Adam
from marl_engine.numerics.reservoir import Reservoir
from marl_engine.numerics.state import get_fields, set_fields
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import group_by_policy
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Policy, Profile, Responder, Step

NORM = 1.0  # largest norm of a gradient
UNIFORM = "uniform"
POWERS = {UNIFORM: 0, "linear": 1, "quadratic": 2}  # of time, in the weights of an average


class Decisions(NamedTuple):
    """N decisions of a policy."""

    observation: Tensor  # (N, …) in the game's own type
    seat: Tensor  # (N,) int64
    legal: Tensor  # (N, A) bool
    action: Tensor  # (N, …)


class AveragePolicy:
    """A policy that learns from a reservoir of the decisions made in some seats of a game with A actions."""

    STATE = ("optimiser", "reservoir")

    def __init__(self, policy: Policy, seats: Sequence[int], actions: int, reservoir: Reservoir):
        self.policy, self.seats, self.actions, self.reservoir = policy, seats, actions, reservoir
        self.optimiser = Adam(policy)

    def add(self, trajectories: Sequence[Trajectory]) -> None:
        """Adds the decisions of its seats: those of seat p in trajectory p, or those of all seats in a single one."""
        for seat in self.seats:
            trajectory = trajectories[seat if len(trajectories) > 1 else 0]
            self.reservoir.add(select_decisions(trajectory, seat, self.actions))

    def fit(self, updates: int, batch: int, learning_rate: float) -> float:
        """Takes gradient steps on batches drawn from the reservoir; returns the mean loss. Raises Diverged."""
        losses = []
        for _ in range(updates):
            observation, seat, legal, action = self.reservoir.sample(batch)
            rows = self.policy.encode(observation, seat)
            distribution, _ = self.policy(rows, legal)
            loss = -distribution.log_prob(action).mean()
            self.optimiser.step(loss, learning_rate, NORM)
            self.policy.observe(rows)
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()


def select_decisions(trajectory: Trajectory, seat: int, actions: int) -> Decisions:
    """Returns the decisions of one seat in a stretch of play."""
    acting = trajectory.acting[..., seat]
    observation, action = (each[:, :, seat][acting] for each in (trajectory.observation, trajectory.action))
    legal = torch.ones(len(action), actions, dtype=torch.bool, device=action.device)
    if trajectory.legal is not None:
        legal = trajectory.legal[:, :, seat][acting]
    return Decisions(observation, torch.full((len(action),), seat, device=action.device), legal, action)


class AveragedLearner:
    """A copy of a profile that learns by a responder of its own, while the profile itself becomes its average.

    The responder has the settings of the given one, which learns nothing: that one belongs to the profile.
    """

    STATE = ("profile", "responder", "averages")

    def __init__(self, average: Profile, responder: Responder, capacity: int, averaging: str = UNIFORM):
        self.profile: Profile = deepcopy(average)
        self.responder: Responder = replace(cast(Any, responder))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(responder.seed)
            responder.prepare(average)  # now rather than when it is saved, since optimisers move parameters in memory
            self.responder.prepare(self.profile)
        self.averages = [
            AveragePolicy(
                policy,
                seats,
                responder.game.actions,
                Reservoir(capacity, responder.seed + number, responder.device, POWERS[averaging]),
            )
            for number, (policy, seats) in enumerate(group_by_policy(average))
        ]

    def add(self, trajectories: Sequence[Trajectory]) -> None:
        """Adds what the learner played to the reservoirs; see `AveragePolicy.add`."""
        for average in self.averages:
            average.add(trajectories)

    def fit(self, updates: int, batch: int, learning_rate: float) -> Metrics:
        """Fits the average policies whose seats have decided something; returns the mean loss. Raises Diverged."""
        losses = [each.fit(updates, batch, learning_rate) for each in self.averages if len(each.reservoir)]
        return {"loss/average": sum(losses) / len(losses)} if losses else {}

    def state(self) -> dict[str, Any]:
        """Returns the fields, with the profile as `profile_state`; see `get_state`."""
        self.responder.prepare(self.profile)
        return {**get_fields(self), "profile": profile_state(self.profile)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the profile, then what learns it; see `set_state`."""
        load_profile_state(self.profile, state["profile"])
        self.responder.prepare(self.profile)
        set_fields(self, state, self.STATE[1:])


def check_average(profile: Profile, responder: Responder, name: str) -> None:
    """Raises ValueError unless the responder returns what it played, by policies whose decisions can be learned singly.

    `name` is the solver's. Policies come first, since they decide which responders there are.
    """
    for policy in profile:
        if policy.unit != "decision" or policy.generates or not list(policy.parameters()):
            raise ValueError(
                f"{name} fits the average to single decisions by gradients, and {type(policy).__name__} does not learn "
                "from these; use policy=network or policy=cnn"
            )
    check_supports(responder, name, "trajectories")
    if not is_dataclass(type(responder)):
        raise ValueError(f"{name} copies its responder, so this must be a dataclass, not {type(responder).__name__}")


class Recorder:
    """A responder that keeps what was played in its last step, in `batch`."""

    STATE = ("responder",)

    def __init__(self, responder: Responder):
        self.responder = responder
        self.batch: Any = None
        self.game, self.seed, self.device, self.form = responder.game, responder.seed, responder.device, responder.form
        self.work, self.supports, self.divergence = responder.work, responder.supports, responder.divergence

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """See `Responder`."""
        step = self.responder.respond(profile, opponents, objective)
        self.batch = step.batch
        return step

    def snapshot(self, profile: Profile) -> Any:
        """See `Responder`."""
        return self.responder.snapshot(profile)

    def rollback(self, profile: Profile, snapshot: Any) -> None:
        """See `Responder`."""
        self.responder.rollback(profile, snapshot)

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        self.responder.prepare(profile)
