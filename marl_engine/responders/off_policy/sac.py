"""The off-policy responder: soft actor-critic with a replay buffer, regularised towards anchor and magnet.

Without regularisation it is SAC (Haarnoja et al. 2018, arXiv:1801.01290, with two critics and no separate value as in
arXiv:1812.05905). Anchored to the policy at the start of an iteration (`solver=mdpo`) it is off-policy MDPO (Tomar et
al. 2020, arXiv:2005.09814, section 5). It departs from both in that several games are played in parallel, and from the
code of MDPO in that both critics train the policy and that actions in the buffer are sampled from it.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from marl_engine.capabilities import spaces_of
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.numerics.adam import Adam, flatten_parameters
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.gaussian import Squashed
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.network import indicated_seats
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.off_policy.replay_buffer import (
    ReplayBuffer,
    Transitions,
    TwinCritic,
    actor_loss,
    check_buffer,
    last_observations,
    soft_target,
)
from marl_engine.responders.regulariser import check_objective, kl_terms
from marl_engine.rollout.stream import Stream
from marl_engine.types import UNREGULARISED, Game, Objective, Opponents, Policy, Profile, Step, Work


class Actor:
    """A policy, its twin critics, their target critics, and the optimisers."""

    STATE = ("critics", "target", "optimiser", "critics_optimiser")

    def __init__(self, policy: Policy, critics: TwinCritic):
        self.policy, self.critics, self.target = policy, critics, deepcopy(critics)
        self.optimiser, self.critics_optimiser = Adam(policy), Adam(critics)
        self.target_parameters = flatten_parameters(self.target)[0].data
        self.critics_parameters = list(critics.parameters())

    def judge(self, rows: Tensor, actions: Tensor) -> Tensor:
        """Returns the critics' values (2, N) of rows (N, O) and actions (N, D), with a gradient for actions only."""
        for each in self.critics_parameters:
            each.requires_grad = False
        value = self.critics(rows, actions)
        for each in self.critics_parameters:
            each.requires_grad = True
        return value


@dataclass
class SAC:
    """Learns from `num_envs` copies of the game, with `updates` gradient steps for each decision of each copy.

    Raises ValueError for hyperparameters out of range, a game with several players or without continuous actions, and a
    policy that is not squashed.
    """

    STATE = ("work", "generator", "stream", "actor", "replay")
    divergence = BEHAVIORAL

    game: Game
    network: MLPSpec
    seed: int = 0
    device: str = "cpu"
    num_envs: int = 16  # B
    rollout_length: int = 64  # T: decisions of each game in an iteration
    updates: int = 1
    batch: int = 256
    memory: int = 1_000_000  # transitions in the replay buffer
    warm_up: int = 500  # decisions before the first update
    learning_rate: Any = 1e-3
    discount: float = 0.99  # gamma
    entropy_bonus: Any = 0.02  # lambda of MDPO, alpha of SAC; in scaled payoff
    target_tau: float = 0.005  # tau: step of the target critics in an update
    payoff_scale: float = 0.1  # factor on payoffs

    def __post_init__(self) -> None:
        check_fields("responder", self, "num_envs", "rollout_length", "updates", "batch", "memory", least=1, whole=True)
        check_fields("responder", self, "payoff_scale", above=0)
        check_fields("responder", self, "discount", "target_tau", least=0, most=1)
        check_buffer(self.memory, self.num_envs, self.warm_up)
        name = type(self.game).__name__
        if not spaces_of(self.game).action.is_box:
            raise ValueError(f"{name} has no continuous actions: SAC needs bounds in `spaces.action`")
        if not self.network.squashed:
            raise ValueError("policy.squashed must be true for SAC")
        if self.game.players != 1:
            raise ValueError(f"SAC learns games of one player, and {name} has {self.game.players}")
        self.schedules: dict[str, Schedule] = {
            name: parse_schedule(vars(self)[name], f"responder.{name}") for name in ("learning_rate", "entropy_bonus")
        }
        self.form = None
        self.work, self.supports = Work(steps=0), frozenset({"anchor", "magnet"})
        self.generator = torch.Generator().manual_seed(self.seed)  # the same numbers on any device
        seats = indicated_seats(self.game, self.network.seat_indicator, self.network.shared)
        self.features = math.prod(self.game.observation_shape) + seats
        widths = ((self.features,), (self.game.actions,), (), (self.features,), ())
        empty = Transitions._make(torch.empty(0, *width, device=self.device) for width in widths)
        self.replay = ReplayBuffer(self.memory, empty)
        self.stream: Stream | None = None
        self.actor: Actor | None = None

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Alternates between play and updates; see `Responder`. Raises Diverged."""
        check_objective(self, opponents, objective)
        start, playing, before = perf_counter(), 0.0, self.work["steps"]
        stream, actor = self._stream(), self._actor(profile[0])
        near = [(others[0], self.payoff_scale * weight) for others, weight in kl_terms(objective)]
        returns: list[Tensor] = []
        losses: list[Tensor] = []
        for _ in range(self.rollout_length):
            began = perf_counter()
            earned = self._play(stream, actor)
            returns += [] if earned is None else [earned[:, 0]]
            self.work["steps"] += self.num_envs
            playing += perf_counter() - began
            if self.work["steps"] >= self.warm_up:
                losses += [self._update(actor, near) for _ in range(self.num_envs * self.updates)]
        metrics = {} if not returns else {f"return/{name}": torch.cat(returns).mean().item() for name in ("0", "mean")}
        if losses:
            means = torch.stack(losses).mean(0).tolist()
            metrics |= dict(zip(("loss/value", "loss/policy", "entropy"), means, strict=True))
        metrics |= {"seconds/play": playing, "seconds/learn": perf_counter() - start - playing}
        return Step(metrics, Work(steps=self.work["steps"] - before))

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile, [self._actor(profile[0]).optimiser])

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile, [self._actor(profile[0]).optimiser])

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        self._stream(), self._actor(profile[0])

    def _stream(self) -> Stream:
        if self.stream is None:
            self.stream = Stream(deepcopy(self.game), derive_seeds(self.seed, self.num_envs, self.device))
        return self.stream

    def _actor(self, policy: Policy) -> Actor:
        if self.actor is None or self.actor.policy is not policy:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                normalised = math.prod(self.game.observation_shape) if self.network.normalise_observations else 0
                critics = TwinCritic(self.features + self.game.actions, self.network.hidden, normalised)
            self.actor = Actor(policy, critics.to(self.device))
        return self.actor

    def _play(self, stream: Stream, actor: Actor) -> Tensor | None:
        """Plays a decision in every game and stores it; returns the payoffs (num_envs, 1) of games that ended."""
        trajectory, returns = stream.play([actor.policy], 1)
        seat = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        rows, after = (
            actor.policy.encode(each[0, :, 0].float(), seat)
            for each in (trajectory.observation, last_observations(trajectory, stream.turn))
        )
        for network in (actor.policy, actor.critics, actor.target):
            network.observe(rows)
        reward, over = self.payoff_scale * trajectory.reward[0, :, 0], trajectory.done & ~trajectory.truncated
        self.replay.add(Transitions(rows, trajectory.action[0, :, 0], reward, after, over[0].float()))
        return returns

    def _update(self, actor: Actor, near: Sequence[tuple[Policy, float]]) -> Tensor:
        """Updates critics, policy and the target critics; returns value loss, policy loss and entropy, (3,)."""
        index = torch.randint(len(self.replay), (self.batch,), generator=self.generator).to(self.device)
        transitions = self.replay.take(index)
        learning_rate = self.schedules["learning_rate"].at(self.work["steps"])
        bonus = self.schedules["entropy_bonus"].at(self.work["steps"])
        value_loss = self._critics_loss(actor, transitions, bonus)
        actor.critics_optimiser.step(value_loss, learning_rate, math.inf)
        loss, log_prob = self._policy_loss(actor, transitions.observation, near, bonus)
        actor.optimiser.step(loss, learning_rate, math.inf)
        actor.target_parameters.lerp_(actor.critics_optimiser.vector.data, self.target_tau)
        return torch.stack([value_loss.detach(), loss.detach(), -log_prob.detach().mean()])

    def _sample_transitions(self, policy: Policy, rows: Tensor) -> tuple[Squashed, Tensor]:
        """Returns a policy's distributions, and samples (N, D) before squashing, with a gradient."""
        pi = cast(Squashed, policy(rows)[0])
        normal = torch.randn(pi.inner.mean.shape, generator=self.generator).to(self.device)
        return pi, pi.inner.from_normal(normal)

    def _critics_loss(self, actor: Actor, transitions: Transitions, bonus: float) -> Tensor:
        """Returns the mean squared distance of both values from the soft target."""
        with torch.no_grad():
            pi, inner = self._sample_transitions(actor.policy, transitions.after)
            value = actor.target(transitions.after, pi.squash(inner))
            log_prob = pi.log_prob_of(inner)
            target = soft_target(
                transitions.reward, transitions.over, value, log_prob, discount=self.discount, bonus=bonus
            )
        return ((actor.critics(transitions.observation, transitions.action) - target) ** 2).mean()

    def _policy_loss(
        self, actor: Actor, rows: Tensor, near: Sequence[tuple[Policy, float]], bonus: float
    ) -> tuple[Tensor, Tensor]:
        """Returns the `actor_loss` of newly sampled actions, and their log-densities (N,)."""
        pi, inner = self._sample_transitions(actor.policy, rows)
        log_prob = pi.log_prob_of(inner)
        others = [other(rows)[0].log_prob_of(inner) for other, _ in near]
        value = actor.judge(rows, pi.squash(inner))
        return actor_loss(log_prob, value, others, [weight for _, weight in near], bonus), log_prob
