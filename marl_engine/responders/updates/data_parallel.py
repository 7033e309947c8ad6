"""Data-parallel updates: several learners take the same steps, each with the gradient of its part of a minibatch.

Each learner is a process with the whole batch, the policy and the critic. In a minibatch of n decisions learner k
computes the gradient g_k of the mean loss of n_k of them, and steps along

    g = sum_k n_k / n * g_k,

which is the gradient of the minibatch. So the learners remain equal, and equal to a single one up to the order of sums.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.numerics.adam import Adam
from marl_engine.numerics.state import get_state, set_state
from marl_engine.responders.actor_critic import ActorCritic
from marl_engine.responders.batches import PolicyBatch, count_decisions, count_units
from marl_engine.responders.overlap import check_policies
from marl_engine.responders.updates.ppo_update import Lesson, Loss, Minibatches, PPOUpdate
from marl_engine.runners import Gang, Group
from marl_engine.types import Metrics, Policy


class Part(NamedTuple):
    """An update of a policy and its critic, as each learner gets it."""

    update: PPOUpdate
    policy: Policy
    critic: Any
    optimisers: tuple[Any, Any]  # states of those of the policy and the critic
    unit: float  # of values
    lesson: Lesson


class Learned(NamedTuple):
    """What a learner returns; only the first one returns weights and states."""

    metrics: Metrics  # its summand
    vectors: tuple[tuple[Tensor, Tensor], ...] = ()  # weights and last gradients of policy and critic
    optimisers: tuple[Any, ...] = ()


def learn_together(gang: Gang, update: PPOUpdate, learner: ActorCritic, lesson: Lesson) -> Metrics:
    """Does what `PPOUpdate.learn` does by the processes of a gang. Raises Refused for policies of teams."""
    check_policies([learner.policy], "runner.learners above 1")
    optimisers = learner.policy_optimiser, learner.critic_optimiser
    states = get_state(optimisers[0]), get_state(optimisers[1])
    part = Part(update, learner.policy, learner.critic, states, learner.value_unit, lesson)
    results = gang.run(learn_part, part)
    for optimiser, (vector, gradient), state in zip(optimisers, results[0].vectors, results[0].optimisers, strict=True):
        set_state(optimiser, state)
        optimiser.vector.data.copy_(vector)
        optimiser.gradient.copy_(gradient)
    names = {name: None for each in results for name in each.metrics}
    return {name: sum(each.metrics.get(name, 0.0) for each in results) for name in names}


def learn_part(part: Part, group: Group) -> Learned:
    """Takes all steps of an update with its part of each minibatch."""
    update, policy, critic, states, unit, lesson = part
    metrics, optimisers = Metrics(), (Adam(policy), Adam(critic))
    losses = update.loss_of_policy(policy, lesson), update.loss_of_critic(critic, unit, lesson)
    parts = split_minibatches(lesson.decisions, lesson.minibatches, group)
    for optimiser, state, loss in zip(optimisers, states, losses, strict=True):
        set_state(optimiser, state)
        metrics |= descend(update, optimiser, parts, loss, group)
    if group.rank > 0:
        return Learned(metrics)
    vectors = tuple((each.vector.detach(), each.gradient) for each in optimisers)
    return Learned(metrics, vectors, tuple(map(get_state, optimisers)))


def split_minibatches(batch: PolicyBatch, minibatches: Minibatches, group: Group) -> list[tuple[Tensor, float]]:
    """Returns the units of this learner in each minibatch, and its share of the decisions."""
    numbers, parts = torch.arange(count_units(batch), device=batch.rows.device), []
    for index in minibatches:
        units = numbers[index]
        own = units.tensor_split(group.size)[group.rank]
        parts.append((own, count_decisions(batch, own) / count_decisions(batch, units)))
    return parts


def descend(
    update: PPOUpdate, optimiser: Adam, parts: Sequence[tuple[Tensor, float]], loss: Loss, group: Group
) -> Metrics:
    """Takes a step for each minibatch; returns this learner's summand of the means of what the losses report."""
    totals: defaultdict[str, float] = defaultdict(float)
    for own, share in parts:
        objective: Tensor | Sequence[Tensor] = ()
        measurements: dict[str, Tensor] = {}
        if share:
            objective, measurements = loss(own)

        def add(gradient: Tensor, share: float = share) -> None:
            group.add(gradient.mul_(share))

        optimiser.step(objective, update.learning_rate, update.gradient_norm, add)
        for name, number in measurements.items():
            totals[name] += share * number.item() / len(parts)
    return dict(totals)
