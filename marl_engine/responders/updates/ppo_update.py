"""The losses of PPO and steps down them; see `responders.ppo`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.losses.ppo import VALUE_LOSSES, KLPenalty, fused_surrogate
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.threads import run_concurrently
from marl_engine.responders.actor_critic import ActorCritic
from marl_engine.responders.batches import CriticBatch, PolicyBatch, select_decisions, select_units
from marl_engine.responders.regulariser import KLTerm
from marl_engine.types import Metrics, Policy

Minibatches = Sequence[Tensor | slice]
Loss = Callable[[Tensor | slice], tuple[Tensor, dict[str, Tensor]]]


class Lesson(NamedTuple):
    """What an update learns from."""

    terms: Sequence[KLTerm]
    decisions: PolicyBatch
    estimates: CriticBatch
    minibatches: Minibatches


class PPOUpdate(NamedTuple):
    """The hyperparameters of one update."""

    clip: float
    entropy_bonus: float
    value_loss: str
    value_width: float  # in scaled payoff
    learning_rate: float
    gradient_norm: float

    def learn(self, learner: ActorCritic, lesson: Lesson) -> Metrics:
        """Takes a step of the policy and one of its critic for each minibatch; returns metrics."""
        losses = (
            (learner.policy_optimiser, self.loss_of_policy(learner.policy, lesson)),
            (learner.critic_optimiser, self.loss_of_critic(learner.critic, learner.value_unit, lesson)),
        )
        steps = (partial(self.descend, optimiser, lesson.minibatches, loss) for optimiser, loss in losses)
        results = run_concurrently(*steps)
        return {name: number for metrics in results for name, number in metrics.items()}

    def loss_of_policy(self, policy: Policy, lesson: Lesson) -> Loss:
        """Returns `policy_loss` as a function of the units of a minibatch."""
        return lambda index: self.policy_loss(policy, lesson.terms, select_units(lesson.decisions, index))

    def loss_of_critic(self, critic: Any, unit: float, lesson: Lesson) -> Loss:
        """Returns `critic_loss` as a function of the units of a minibatch."""
        return lambda index: self.critic_loss(critic, unit, select_units(lesson.estimates, index))

    def descend(self, optimiser: Adam, minibatches: Minibatches, loss: Loss) -> Metrics:
        """A step down the loss of each minibatch; returns the means of what the losses report."""
        record = []
        for index in minibatches:
            objective, measurements = loss(index)
            optimiser.step(objective, self.learning_rate, self.gradient_norm)
            record.append(measurements)
        return {name: torch.stack([each[name] for each in record]).mean().item() for name in record[0]}

    def policy_loss(
        self, policy: Policy, terms: Sequence[KLTerm], batch: PolicyBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of clipped surrogate, entropy bonus and KL terms, and metrics."""
        pi, penalty = batch.evaluate(policy)
        action, log_prob, advantage = (
            select_decisions(batch, each) for each in (batch.action, batch.log_prob, batch.advantage)
        )
        kl_penalty = None
        if batch.target is not None:
            kl_penalty = KLPenalty(sum(term.weight for term in terms), select_decisions(batch, batch.target))
        result = fused_surrogate(
            pi, action, log_prob, advantage, clip=self.clip, bonus=self.entropy_bonus, kl_penalty=kl_penalty
        )
        loss = result.loss if penalty is None else result.loss + penalty
        for number, (other, weight) in enumerate(terms if kl_penalty is None else ()):
            with torch.no_grad():
                there = batch.distribution_of(other, number)
            loss = loss + weight * pi.kl(there).mean()
        return loss, {"entropy": result.entropy, "loss/policy": result.surrogate, "kl/last": result.kl}

    def critic_loss(self, critic: Any, unit: float, batch: CriticBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the distance of values from their targets in units of values, and metrics."""
        target, before = select_decisions(batch, batch.target), select_decisions(batch, batch.value)
        error = VALUE_LOSSES[self.value_loss]
        loss = error(batch.values(critic), target, before, self.value_width * unit).mean() / unit**2
        return loss, {"loss/value": loss.detach()}
