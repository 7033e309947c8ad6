"""The on-policy responder: clipped surrogate, critic with generalised advantage estimation, and two KL terms.

Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) for teams. With a critic of each seat's own
observation it is IPPO (de Witt et al. 2020, arXiv:2011.09533), with one of all seats' observations MAPPO (Yu et al.
2022, arXiv:2103.01955). If policies learn one after the other it is HAPPO; see `responders.sequential`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from marl_engine.capabilities import CriticSpec, capabilities_of
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.losses.gae import gae
from marl_engine.losses.ppo import VALUE_LOSSES
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.mixtures.population import learnable_policies
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.actor_critic import NORMALISATIONS, ActorCritic
from marl_engine.responders.batches import (
    CriticBatch,
    PolicyBatch,
    SeatBatch,
    concatenate,
    count_units,
    fill_legal,
    has_decisions,
    mean_metrics,
    merge_terms,
    select_decisions,
)
from marl_engine.responders.collation import collate, estimate_values, sequences_of, unknown_endings
from marl_engine.responders.lineups import Lineups, StreamSettings, make_source
from marl_engine.responders.overlap import correct, measure_correction
from marl_engine.responders.regulariser import KLTerm, check_memories, kl_terms
from marl_engine.responders.sequential import SequentialRatios
from marl_engine.responders.updates import Lesson, PPOUpdate, learn_together
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import group_by_policy
from marl_engine.runners import LOCAL, make_gang, overlapping
from marl_engine.types import (
    UNREGULARISED,
    Game,
    Metrics,
    Objective,
    Opponents,
    Policy,
    Profile,
    Runner,
    Step,
    Work,
)

CRITICS = ("own", "joint")
LARGEST = 20_000  # actions of all information sets of a game whose NashConv is computed in every iteration


@dataclass
class PPO:
    """Learns from `num_envs` copies of the game, in rollouts of `rollout_length` decisions.

    A policy keeps its critic and optimisers as long as each step moves it. Raises ValueError for hyperparameters out of
    range.
    """

    STATE = ("work", "generator", "lineups", "learners")
    divergence = BEHAVIORAL

    game: Game
    network: CriticSpec  # makes the policies
    seed: int = 0
    device: str = "cpu"
    num_envs: int = 64  # B
    rollout_length: int = 64  # T
    epochs: int = 4
    minibatches: int = 4
    learning_rate: Any = 2e-3
    discount: float = 0.99  # gamma
    gae_lambda: float = 0.95  # lambda of GAE
    clip: float = 0.2  # epsilon of the surrogate
    entropy_bonus: Any = 0.03
    shaping: Any = 0.0  # weight of the game's shaping rewards
    payoff_scale: float = 0.1  # factor on payoffs
    critic: str = "own"  # or joint
    value_loss: str = "huber"  # or squared, clipped
    value_width: float = 1.0  # of the Huber loss, or of the clipped value; in scaled payoff
    value_normalisation: str = "none"  # or running, popart
    value_decay: float = 0.99  # of the statistics of values, in an iteration
    normalise_advantage: bool = True
    sequential: bool = False  # policies learn one after the other (HAPPO)
    gradient_norm: float = 0.5
    shard: int | None = None  # copies of the game in a job of the runner; None: all
    levels: Any = None  # a LevelSource, or a section of a configuration that names one
    runner: Runner = LOCAL

    def __post_init__(self) -> None:
        check_fields("responder", self, "num_envs", "rollout_length", "epochs", "minibatches", least=1, whole=True)
        check_fields("responder", self, "payoff_scale", "value_width", above=0)
        check_fields("responder", self, "gradient_norm", "clip", above=0, infinite=True)
        check_fields("responder", self, "discount", "gae_lambda", "value_decay", least=0, most=1)
        check_choices("responder", self, critic=CRITICS, value_loss=VALUE_LOSSES, value_normalisation=NORMALISATIONS)
        if self.shard is not None:
            check_fields("responder", self, "shard", least=1, whole=True)
        elif overlapping(self.runner):
            raise ValueError("runner.overlap=true needs responder.shard=GAMES, the number of games that a worker plays")
        self.schedules: dict[str, Schedule] = {
            name: parse_schedule(vars(self)[name], f"responder.{name}")
            for name in ("learning_rate", "entropy_bonus", "shaping")
        }
        extensive = capabilities_of(self.game).extensive
        self.form = None if extensive is None or extensive.form.sequences > LARGEST else extensive.form
        terms = ("opponents", "mixtures", "anchor", "magnet", "payoff")
        self.work, self.supports = Work(steps=0), frozenset({*terms, "trajectories"})
        copies = StreamSettings(self.num_envs, self.shard, self.seed, self.device)
        self.lineups = Lineups(self.game, copies, self.runner, make_source(self.levels))
        self.learners: dict[Policy, ActorCritic] = {}
        self.gang = make_gang(self.runner)
        self.generator = torch.Generator().manual_seed(self.seed)

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Plays once, then learns for `epochs`; see `Responder`. Raises Diverged."""
        self.learners = {policy: learner for policy, learner in self.learners.items() if policy in profile}
        for others, _ in kl_terms(objective):
            for policy, seats in group_by_policy(profile):
                check_memories(policy, [others[seats[0]]])
        start = perf_counter()
        trajectories, parts, metrics = self._play(profile, opponents, objective)
        end_of_play = perf_counter()
        results, near, ratios = [], kl_terms(objective), SequentialRatios(self.sequential)
        groups = [group for group in group_by_policy(profile) if group[0] in parts]  # others are frozen
        for policy, seats in ratios.order(groups, self.generator):
            terms = [KLTerm(others[seats[0]], weight) for others, weight in near]
            results.append(self._learn(policy, parts[policy], terms, ratios))
            ratios.include(policy, parts[policy])
        self.lineups.note_update(profile)
        work = Work(steps=self.num_envs * self.rollout_length * len(trajectories))
        self.work.update(work)
        metrics |= mean_metrics(results)
        metrics |= {"seconds/play": end_of_play - start, "seconds/learn": perf_counter() - end_of_play}
        return Step(metrics, work, trajectories)

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile, self._optimisers(profile))

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile, self._optimisers(profile))

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        self.learners = {policy: self._learner(policy) for policy in learnable_policies(profile)}

    def _optimisers(self, profile: Profile) -> list[Adam]:
        """Returns the optimisers of the policies."""
        return [self._learner(policy).policy_optimiser for policy, _ in group_by_policy(profile)]

    def _learner(self, policy: Policy) -> ActorCritic:
        if policy not in self.learners:
            critic = self.network.critic(self.game, self.critic == "joint").to(self.device)
            self.learners[policy] = ActorCritic(policy, critic, self.value_normalisation, self.value_decay)
        return self.learners[policy]

    def _play(
        self, profile: Profile, opponents: Opponents | None, objective: Objective = UNREGULARISED
    ) -> tuple[list[Trajectory], dict[Policy, list[SeatBatch]], Metrics]:
        """See `Lineups.play`."""
        return self.lineups.play(profile, opponents, self.rollout_length, objective.payoff)

    def _learn(
        self, policy: Policy, parts: Sequence[SeatBatch], terms: Sequence[KLTerm], ratios: SequentialRatios
    ) -> Metrics:
        """Updates one policy and its critic unless there is no decision to learn from."""
        learner = self._learner(policy)
        parts = [correct(policy, part._replace(ratio=ratios.of(part))) for part in parts]
        decided, estimated = zip(
            *(self._batches(learner, part, [other for other, _ in terms]) for part in parts), strict=True
        )
        decisions, estimates = concatenate(fill_legal(decided)), concatenate(estimated)
        if not has_decisions(decisions, slice(None)):
            return {}
        correction = measure_correction(parts)
        decisions, scale = self._scale_advantage(decisions)
        estimates = learner.renormalise(estimates)
        terms = [KLTerm(other, scale * weight) for other, weight in terms]
        decisions = merge_terms(decisions, terms)
        lesson = Lesson(terms, decisions, estimates, self._minibatches(decisions))
        if self.gang is None:
            metrics = self._update().learn(learner, lesson)
        else:
            metrics = learn_together(self.gang, self._update(), learner, lesson)
        learner.observe(decisions, estimates)
        return metrics | correction

    def _update(self) -> PPOUpdate:
        """Returns the hyperparameters of an update after the work done so far."""
        learning_rate, bonus = (
            self.schedules[name].at(self.work["steps"]) for name in ("learning_rate", "entropy_bonus")
        )
        return PPOUpdate(self.clip, bonus, self.value_loss, self.value_width, learning_rate, self.gradient_norm)

    def _minibatches(self, batch: PolicyBatch) -> list[Tensor | slice]:
        """Returns the units of each minibatch of all epochs, in random order; those without decisions are left out."""
        if self.minibatches == 1:
            return [slice(None)] * self.epochs
        orders = [torch.randperm(count_units(batch), generator=self.generator) for _ in range(self.epochs)]
        parts = [index.to(self.device) for order in orders for index in order.chunk(self.minibatches)]
        return [index for index in parts if has_decisions(batch, index)]

    def _scale_advantage(self, decisions: PolicyBatch) -> tuple[PolicyBatch, float]:
        """Standardises advantages, if configured, and multiplies them by ratios; returns the scale of payoff, too."""
        advantage, scale = decisions.advantage, self.payoff_scale
        if self.normalise_advantage:
            among = select_decisions(decisions, advantage)
            unit = among.std(unbiased=False).item() + 1e-8
            advantage, scale = (advantage - among.mean()) / unit, scale / unit
        if decisions.ratio is not None:
            advantage = advantage * decisions.ratio
        return decisions._replace(advantage=advantage, ratio=None), scale

    @torch.no_grad()
    def _batches(
        self, learner: ActorCritic, part: SeatBatch, others: Sequence[Policy] = ()
    ) -> tuple[PolicyBatch, CriticBatch]:
        """Returns the data of a policy and its critic in some seats.

        Updates the memories of the critic and of `others`, the policies that the learner is regularised towards.
        """
        trajectory, seats, remembered = part.trajectory, part.seats, learner.critic_memory(part)
        sequences = None if learner.policy.unit != "sequence" else sequences_of(part, remembered)
        values = estimate_values(learner.critic, part, self.critic == "joint", sequences)
        learner.memory[part.lineup] = values.memory
        after, acts_after = values.after, part.after.acting[:, seats]
        if part.after.alive is not None:
            left = ~part.after.alive[:, seats]
            after, acts_after = after.masked_fill(left, 0), acts_after | left
        earned = trajectory.reward + self.schedules["shaping"].at(self.work["steps"]) * trajectory.shaping
        advantages = gae(
            self.payoff_scale * earned[..., seats],
            values.value,
            trajectory.done,
            trajectory.acting[..., seats],
            after=after,
            acts_after=acts_after,
            ending=values.final,
            alive=None if trajectory.alive is None else trajectory.alive[..., seats],
            unknown=unknown_endings(trajectory, seats),
            rho=part.rho,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
        )
        shared_rows = self.critic == "own" and learner.policy.encodes_like_critic
        decisions, estimates = collate(learner.policy, part, values, advantages, shared_rows, remembered)
        return learner.add_others(decisions, others, part), estimates
