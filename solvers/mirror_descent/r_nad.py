"""Regularised Nash dynamics (R-NaD): solves the game with a tax on leaving a reference, moves the reference, repeats.

Perolat et al. 2021 (arXiv:2002.08456, section 5) and 2022 (DeepNash, arXiv:2206.15378). Each player's payoff is reduced
by eta times the log-ratio of its own choices to the reference, summed along the path, and increased by that of the
others, so that a zero-sum game stays zero-sum. Replicator dynamics then converge to the unique equilibrium of the
regularised game, and these equilibria converge to an equilibrium of the game itself, in the last iterate.

The reference moves after a fixed number of steps. A step of the dynamics is a step of Hedge in every information set.
Responders that learn from play receive the tax in the rewards of each decision.

It departs from DeepNash in two ways. There the tax is a weighted mean of the log-ratios to the last two references,
whose weight moves gradually from the older to the newer one; here there is one reference, and the tax changes at once.
There logits follow NeuRD with estimates of returns by v-trace; here the responder takes its own step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.extensive_form.sequence_form import SequenceForm, entry_sequences
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.jit import compile_loop
from marl_engine.numerics.state import resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.tabular import TINY, stack_tables
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.likelihood import action_log_probs, check_likelihood
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Payoff, Profile, Progress, Responder, Runner


@dataclass
class RNaD:
    """Plays against: itself, taxed. Anchored to: itself. The reference is its own past.

    Raises ValueError for a step or a tax that is not above 0, and for `move_every` below 1.
    """

    STATE = ("reference",)

    step_size: float = 0.1
    tax: float = 0.2  # eta
    move_every: int = 100  # steps of the dynamics between moves of the reference

    def __post_init__(self) -> None:
        check_fields("solver", self, "step_size", "tax", above=0)
        check_fields("solver", self, "move_every", least=1, whole=True)
        self.reference: Profile | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "anchor", "payoff")
        for policy in profile:
            check_likelihood(policy)
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        reference = resume_field(self, "reference", freeze(profile), after)
        for iteration in count(after + 1):
            start = freeze(profile)
            payoff = Payoff(
                partial(tax_rewards, reference=reference, tax=self.tax),
                partial(tax_form, profile=start, reference=reference, tax=self.tax),
            )
            step = responder.respond(profile, objective=Objective(start, self.step_size, payoff=payoff))
            if iteration % self.move_every == 0:
                reference = self.reference = freeze(profile)
            yield Progress(iteration, profile, step.metrics | measure_nash_conv(responder, profile), step.work)


@torch.no_grad()
def tax_rewards(trajectory: Trajectory, reference: Profile, tax: float) -> Tensor:
    """Returns rewards (T, B, P) with the tax: a decision costs its seat tax * log(pi / reference).

    The other seats receive as much.
    """
    log_probs = [action_log_probs(policy, trajectory, seat) for seat, policy in enumerate(reference)]
    ratio = (trajectory.log_prob - torch.stack(log_probs, dim=-1)).where(trajectory.acting, 0)
    return trajectory.reward + tax * (ratio.sum(-1, keepdim=True) - 2 * ratio)


def tax_form(form: SequenceForm, profile: Profile, reference: Profile, tax: float) -> SequenceForm:
    """Returns the game of `tax_strategies` for profiles of tables."""
    return tax_strategies(form, stack_tables(profile), stack_tables(reference), tax)


def tax_strategies(form: SequenceForm, strategy: np.ndarray, reference: np.ndarray, tax: float) -> SequenceForm:
    """Returns the game whose payoffs include tax * (log-ratios of the others' choices - those of the player's own).

    Log-ratios are log(strategy / reference) (S,), summed along the path of each player to the end of the game.
    """
    ratio = np.log(np.maximum(strategy, TINY) / np.maximum(reference, TINY))
    along = np.zeros_like(ratio)
    accumulate(form, ratio, along)
    more = along[form.others].sum(1) - along[entry_sequences(form)]
    return form.with_payoff(form.payoff + tax * form.chance * more)


@compile_loop
def accumulate(form, ratio, along):
    """Writes into `along` (S,) the sum of the ratios (S,) of each sequence and of the own sequences that lead to it."""
    for infoset in range(form.parent.size):
        before = along[form.parent[infoset]]
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            along[sequence] = before + ratio[sequence]
