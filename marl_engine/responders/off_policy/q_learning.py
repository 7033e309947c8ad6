"""The responder of teams that learn values: Q-learning of a team's value, computed from the values of its seats.

The team's payoff is the mean of its seats' payoffs. With mixer=sum it is VDN (Sunehag et al. 2017, arXiv:1706.05296),
with mixer=monotonic QMIX (Rashid et al. 2018, arXiv:1803.11485). Both use double Q-learning (van Hasselt et al. 2016,
arXiv:1509.06461): the learner chooses the next action, and a target network, which follows the learner slowly, gives
its value. In a game of one seat this is a deep Q-network. Departures from the code of QMIX: policies have no memory;
transitions are replayed, not episodes; the target network moves a little in each update; one network with one hidden
layer yields all weights of the mixer; the observations of all seats take the place of the state of the game.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.capabilities import spaces_of
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.losses.value_decomposition import (
    add_values,
    choose_values,
    count_mixing_weights,
    mix_values,
    td_target,
)
from marl_engine.networks.mlp import MLP
from marl_engine.numerics.adam import Adam, flatten_parameters
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.action_values import best_actions
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.collation import critic_view
from marl_engine.responders.off_policy.replay_buffer import (
    ReplayBuffer,
    TeamTransitions,
    check_buffer,
    follow,
    last_observations,
)
from marl_engine.responders.regulariser import check_objective
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import group_by_policy, select_seats
from marl_engine.rollout.stream import Stream
from marl_engine.teams import check_team
from marl_engine.types import UNREGULARISED, Game, Metrics, Objective, Opponents, Profile, Step, Turn, Work

MIXERS = ("sum", "monotonic")


class TeamValue(nn.Module):
    """The value of a team: networks of the seats' own values, and a mixer (None: their sum).

    `seats` has the seats of each of `networks`. The weights of the mixer are the outputs of a network on the
    observations of all seats.
    """

    def __init__(self, networks: Sequence[MLP], seats: Sequence[list[int]], mixer: MLP | None, units: int):
        super().__init__()
        self.networks: Any = nn.ModuleList(networks)
        self.seats, self.mixer, self.units = seats, mixer, units
        self.players = sum(map(len, seats))

    def own_values(self, observation: Tensor) -> Tensor:
        """Returns the values (N, P, A) of the actions of each seat, given observations (N, P, …)."""
        columns: list[Any] = [None] * self.players
        for network, seats in zip(self.networks, self.seats, strict=True):
            values = network(self._encode(network, seats, observation)).unflatten(0, (-1, len(seats)))
            for place, column in zip(seats, values.unbind(1), strict=True):
                columns[place] = column
        return torch.stack(columns, dim=1)

    def mix(self, values: Tensor, observation: Tensor) -> Tensor:
        """Returns the values (N,) of the team, from those of its seats (N, P), given observations (N, P, …)."""
        if self.mixer is None:
            return add_values(values)
        return mix_values(values, self.mixer(self._encode_all(self.mixer, observation)), self.units)

    def observe(self, observation: Tensor) -> None:
        """Takes observations (N, P, …) into the statistics of the networks; see `Policy.observe`."""
        for network, seats in zip(self.networks, self.seats, strict=True):
            network.observe(self._encode(network, seats, observation))
        if self.mixer is not None:
            self.mixer.observe(self._encode_all(self.mixer, observation))

    def _encode(self, network: MLP, seats: Sequence[int], observation: Tensor) -> Tensor:
        """Returns the rows (N * seats, …) of some seats."""
        seat = torch.tensor(seats, device=observation.device).repeat(len(observation))
        return network.encode(select_seats(observation, seats, self.players), seat)

    def _encode_all(self, network: MLP, observation: Tensor) -> Tensor:
        """Returns the rows (N, …) of all seats together."""
        seat = torch.zeros(len(observation), dtype=torch.int64, device=observation.device)
        return network.encode(critic_view(observation, [0], joint=True), seat)


class TeamLearner:
    """The value that learns, its target network, and the optimiser. Networks of seats are saved with the profile."""

    STATE = ("mixer", "target", "optimiser")

    def __init__(self, profile: Profile, value: TeamValue):
        self.profile, self.value, self.mixer, self.target = list(profile), value, value.mixer, deepcopy(value)
        self.optimiser = Adam(value)
        self.target_parameters = flatten_parameters(self.target)[0].data

    def observe(self, observation: Tensor) -> None:
        """Takes observations (N, P, …) into the statistics of the networks and of the target network."""
        self.value.observe(observation)
        for target, own in zip(self.target.buffers(), self.value.buffers(), strict=True):
            target.copy_(own)


@dataclass
class QLearning:
    """Learns from `num_envs` copies of the game, in rollouts of `rollout_length` decisions, with `updates` gradient
    steps after each.

    Raises ValueError for hyperparameters out of range, a game without numbered actions, one of opponents, and policies
    that do not play by action values.
    """

    STATE = ("work", "generator", "stream", "learner", "replay")
    divergence = BEHAVIORAL

    game: Game
    network: MLPSpec
    seed: int = 0
    device: str = "cpu"
    num_envs: int = 64  # B
    rollout_length: int = 8  # T
    updates: int = 8
    batch: int = 256
    memory: int = 50_000  # transitions in the replay buffer
    warm_up: int = 1000  # decisions before the first update
    learning_rate: Any = 1e-3
    discount: float = 0.99  # gamma
    epsilon: Any = 0.05  # probability of a random action in play
    shaping: Any = 0.0  # weight of the game's shaping rewards
    target_tau: float = 0.01  # tau: step of the target network in an update
    payoff_scale: float = 0.1  # factor on payoffs
    gradient_norm: float = 10.0
    mixer: str = "monotonic"  # or sum
    mixing_units: int = 32  # of the hidden layer of the monotonic mixer
    mixing_hidden: int = 64  # of the network that yields its weights

    def __post_init__(self) -> None:
        whole = ("num_envs", "rollout_length", "updates", "batch", "memory", "mixing_units", "mixing_hidden")
        check_fields("responder", self, *whole, least=1, whole=True)
        check_fields("responder", self, "payoff_scale", above=0)
        check_fields("responder", self, "gradient_norm", above=0, infinite=True)
        check_fields("responder", self, "discount", "target_tau", least=0, most=1)
        check_choices("responder", self, mixer=MIXERS)
        check_buffer(self.memory, self.num_envs * self.rollout_length, self.warm_up)
        name, action = type(self.game).__name__, spaces_of(self.game).action
        if action.is_box or action.branches:
            raise ValueError(f"{name} has no actions that are numbered, one for each seat, as Q-learning needs")
        if not self.network.action_values:
            raise ValueError("policy.action_values must be true for Q-learning")
        check_team(f"responder={'vdn' if self.mixer == 'sum' else 'qmix'}", self.game)
        self.schedules: dict[str, Schedule] = {
            name: parse_schedule(vars(self)[name], f"responder.{name}", most)
            for name, most in (("learning_rate", None), ("epsilon", 1), ("shaping", None))
        }
        self.form = None
        self.work, self.supports = Work(steps=0), frozenset[str]()
        self.generator = torch.Generator().manual_seed(self.seed)  # the same numbers on any device
        self.stream = Stream(deepcopy(self.game), derive_seeds(self.seed, self.num_envs, self.device))
        self.replay = ReplayBuffer(self.memory, empty_transitions(self.stream.turn))
        self.learner: TeamLearner | None = None

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Plays once, then takes `updates` gradient steps; see `Responder`. Raises Diverged."""
        check_objective(self, opponents, objective)
        start, learner = perf_counter(), self._learner(profile)
        trajectory, metrics = self._play(profile)
        work = Work(steps=self.num_envs * self.rollout_length)
        self.work.update(work)
        end_of_play = perf_counter()
        if self.work["steps"] >= self.warm_up:
            losses = [self._update(learner) for _ in range(self.updates)]
            metrics |= {"loss/value": torch.stack(losses).mean().item()}
        if self.network.normalise_observations:
            learner.observe(trajectory.observation.flatten(0, 1))
        return Step(
            metrics | {"seconds/play": end_of_play - start, "seconds/learn": perf_counter() - end_of_play}, work
        )

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile, [self._learner(profile).optimiser])

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile, [self._learner(profile).optimiser])

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        self._learner(profile)

    def _learner(self, profile: Profile) -> TeamLearner:
        if self.learner is None or self.learner.profile != profile:
            mixer = None
            if self.mixer == "monotonic":
                outputs = count_mixing_weights(self.game.players, self.mixing_units)
                gain = self.mixing_units**-0.5
                mixer = self.network.perceptron(
                    self.game, [self.mixing_hidden], outputs, gain=gain, views=self.game.players
                ).to(self.device)
            groups: Any = group_by_policy(profile)
            networks, seats = [policy.network for policy, _ in groups], [seats for _, seats in groups]
            self.learner = TeamLearner(profile, TeamValue(networks, seats, mixer, self.mixing_units))
        return self.learner

    def _play(self, profile: Profile) -> tuple[Trajectory, Metrics]:
        """Plays a stretch and adds its transitions to the replay buffer; returns what was played, and metrics."""
        epsilon = self.schedules["epsilon"].at(self.work["steps"])
        with exploration(profile, epsilon):
            trajectory, returns = self.stream.play(profile, self.rollout_length)
        shaping = self.schedules["shaping"].at(self.work["steps"])
        reward = self.payoff_scale * (trajectory.reward + shaping * trajectory.shaping).mean(-1)
        self.replay.add(team_transitions(trajectory, self.stream.turn, reward))
        metrics = {"epsilon": epsilon}
        if returns is not None:
            metrics |= {f"return/{seat}": each.item() for seat, each in enumerate(returns.mean(0))}
            metrics["return/mean"] = returns.mean().item()
        return trajectory, metrics

    def _update(self, learner: TeamLearner) -> Tensor:
        """Takes a gradient step on a batch of transitions, and moves the target network; returns the loss."""
        index = torch.randint(len(self.replay), (self.batch,), generator=self.generator).to(self.device)
        transitions = self.replay.take(index)
        values = learner.value.own_values(transitions.observation)
        value = learner.value.mix(
            choose_values(values, transitions.action, transitions.acting), transitions.observation
        )
        loss = 0.5 * ((value - self.target(learner, transitions)) ** 2).mean()
        learner.optimiser.step(loss, self.schedules["learning_rate"].at(self.work["steps"]), self.gradient_norm)
        learner.target_parameters.lerp_(learner.optimiser.vector.data, self.target_tau)
        return loss.detach()

    @torch.no_grad()
    def target(self, learner: TeamLearner, transitions: TeamTransitions) -> Tensor:
        """Returns the targets (N,) of the team's value.

        They are the values that the target network gives to the actions that the learner finds best.
        """
        best = best_actions(learner.value.own_values(transitions.after), transitions.legal_after)
        values = choose_values(learner.target.own_values(transitions.after), best, transitions.acting_after)
        return td_target(
            transitions.reward, transitions.over, learner.target.mix(values, transitions.after), self.discount
        )


@contextmanager
def exploration(profile: Any, epsilon: float) -> Iterator[None]:
    """Lets policies explore with probability `epsilon`, as long as the context lasts."""
    try:
        for policy in profile:
            policy.epsilon = epsilon
        yield
    finally:
        for policy in profile:
            policy.epsilon = 0.0


def empty_transitions(turn: Turn) -> TeamTransitions:
    """Returns no transitions, with the shapes and types of those of a game with such turns."""
    nothing = turn.observation[:0], turn.acting[:0], turn.legal[:0], turn.reward[:0, 0]
    observation, acting, legal, reward = nothing
    return TeamTransitions(observation, acting, acting.long(), reward, observation, acting, legal, reward)


def team_transitions(trajectory: Trajectory, after: Turn, reward: Tensor) -> TeamTransitions:
    """Returns the T * B transitions of a stretch of play and the turn after it, with rewards (T, B) of the team.

    What would be legal at the last observation of a truncated game is not known: the same as before counts as legal.
    """
    legal = torch.ones_like(after.legal).expand(len(reward), *after.legal.shape)
    legal = legal if trajectory.legal is None else trajectory.legal
    over, cut = trajectory.done & ~trajectory.truncated, trajectory.truncated
    acting_after = follow(trajectory.acting, after.acting) | cut[..., None]
    for mask in (each for each in (trajectory.final_acting, trajectory.alive) if each is not None):
        acting_after &= mask | ~cut[..., None]
    legal_after = torch.where(cut[..., None, None], legal, follow(legal, after.legal))
    before = (trajectory.observation, trajectory.acting, trajectory.action)
    columns = (*before, reward, last_observations(trajectory, after), acting_after, legal_after, over.to(reward.dtype))
    return TeamTransitions._make(each.flatten(0, 1) for each in columns)
