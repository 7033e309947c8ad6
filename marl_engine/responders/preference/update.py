"""Gradient steps of a language policy on the losses of `losses.preference`, by one learner or by several.

Several learners are processes that have the whole batch. Of each minibatch a learner has some groups of answers; it
adds the gradient of their summands of the loss to those of the others. So the learners remain equal, and equal to a
single one up to the order of sums.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.losses.preference import LOSSES, OF_PAIRS, PreferenceLossSettings, PreferencePairs
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.language.generation import LanguagePolicy
from marl_engine.responders.preference.collector import PreferenceBatch, Verdicts
from marl_engine.runners import Gang, Group


class Regulariser(NamedTuple):
    """A policy that the learner is held near, by its log-probabilities (N, L) of the answers.

    They are None if it is the learner itself, and answers are learned from once.
    """

    log_probs: Tensor | None
    weight: float
    is_learner: bool  # it has the weights of the learner before the update


class PreferenceUpdate(NamedTuple):
    """An update: a batch, the groups of each minibatch, what the learner is held near, and hyperparameters."""

    batch: PreferenceBatch
    minibatches: Sequence[Tensor]
    regularisers: Sequence[Regulariser]
    loss: str
    settings: PreferenceLossSettings
    single: bool  # the answers are learned from once, by the policy that gave them
    micro_batch: int  # answers in a forward and backward pass
    learning_rate: float
    gradient_norm: float
    device: str

    def learn(self, learner: LanguagePolicy, optimiser: Adam, group: Group | None = None) -> float:
        """Takes a step for each minibatch; returns the mean loss, or this learner's summand of it. Raises Diverged."""
        losses: list[Tensor] = []
        start = optimiser.vector.detach().clone() if any(each.is_learner for each in self.regularisers) else None
        for index in self.minibatches:
            # While the learner equals a regulariser, their log-probabilities must be equal, too: rounding would give a
            # tiny gradient, which Adam turns into a full step.
            stays = start is not None and torch.equal(optimiser.vector, start)
            near = [None if stays and each.is_learner else each.log_probs for each in self.regularisers]
            own = index if group is None else index.tensor_split(group.size)[group.rank]
            parts = self._losses(learner, own, index, near, losses)
            change = None if group is None else group.add
            optimiser.step(parts, self.learning_rate, self.gradient_norm, change)
        return torch.stack(losses).sum().item() / len(self.minibatches) if losses else 0.0

    def _losses(
        self, learner: LanguagePolicy, own: Tensor, index: Tensor, near: Sequence[Tensor | None], losses: list[Tensor]
    ) -> Iterator[Tensor]:
        """Yields the loss of some groups of a minibatch in parts that fit into memory; the sum is that of all."""
        for rows in own.split(max(1, self.micro_batch // self.batch.verdicts.wins.shape[1])) if len(own) else ():
            loss = LOSSES[self.loss](self._pairs(learner, rows, near), self.settings) * self._weight(rows, index)
            losses.append(loss.detach())
            yield loss

    def _weight(self, rows: Tensor, index: Tensor) -> float:
        """Returns the weight of some groups in the mean over a minibatch: their share of groups, or of pairs."""
        if self.loss not in OF_PAIRS:
            return len(rows) / len(index)
        pairs = self.batch.verdicts.pairs
        count, total = ((pairs[which][..., 0] >= 0).sum().item() for which in (rows, index))
        return count / max(total, 1)

    def _pairs(self, learner: LanguagePolicy, index: Tensor, near: Sequence[Tensor | None]) -> PreferencePairs:
        """Returns some groups of the batch with their present log-probabilities."""
        size, answers = self.batch.verdicts.wins.shape[1], self.batch.answers
        rows = (index[:, None] * size + torch.arange(size)).flatten().to(self.device)
        log_prob = learner.log_probs(answers.rows[rows], answers.tokens[rows]) * answers.mask[rows]
        now, shape = log_prob.detach(), (len(index), size, -1)
        return PreferencePairs(
            log_prob.view(shape),
            (now if self.single else answers.log_prob[rows]).view(shape),
            answers.mask[rows].view(shape),
            [(now if log_probs is None else log_probs[rows]).view(shape) for log_probs in near],
            [each.weight for each in self.regularisers],
            *Verdicts(*(each[index].to(self.device) for each in self.batch.verdicts)),
            self.batch.within,
        )


class Part(NamedTuple):
    """An update as each of several learners gets it. A language model of transformers travels by name."""

    update: PreferenceUpdate
    learner: LanguagePolicy
    optimiser: Any  # its state


class Learned(NamedTuple):
    """What a learner returns; only the first one returns weights, the last gradient, and the state of the optimiser."""

    loss: float  # its summand
    vector: Tensor | None = None
    gradient: Tensor | None = None
    optimiser: Any = None


def learn_together(gang: Gang, update: PreferenceUpdate, learner: LanguagePolicy, optimiser: Adam) -> float:
    """Does what `PreferenceUpdate.learn` does by the processes of a gang."""
    results = gang.run(learn_part, Part(update, learner, get_state(optimiser)))
    first = results[0]
    assert first.vector is not None
    assert first.gradient is not None
    set_state(optimiser, first.optimiser)
    optimiser.vector.data.copy_(first.vector)
    optimiser.gradient.copy_(first.gradient)
    return sum(each.loss for each in results)


def learn_part(part: Part, group: Group) -> Learned:
    """Takes all steps of an update with its groups of each minibatch."""
    update, learner, state = part
    optimiser = Adam(learner)
    set_state(optimiser, state)
    loss = update.learn(learner, optimiser, group)
    if group.rank > 0:
        return Learned(loss)
    return Learned(loss, optimiser.vector.detach(), optimiser.gradient, get_state(optimiser))
