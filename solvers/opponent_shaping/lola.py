"""LOLA: learning with opponent-learning awareness, a gradient step that anticipates the others' next step.

Foerster et al. 2018 (arXiv:1709.04326), with exact gradients ("LOLA-Ex"). It departs from the paper by differentiating
through the others' actual step instead of its first-order expansion; all seats do so simultaneously. Steps are in units
of the game's values. The paper's values, discounted sums, are 1 / (1 - gamma) times the mean payoff of a round that is
used here, so the paper's step of 1 corresponds to 1 / (1 - gamma) here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.policies.softmax_table import copy_logits
from marl_engine.responders.gradient_ascent import (
    GradientAscent,
    Values,
    own_gradients,
)
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Runner, Work


def lola_gradients(values: Values, own: Sequence[Tensor], look_ahead: float) -> list[Tensor]:
    """Returns d V_i(own_i, own_-i + look_ahead * step_-i) / d own_i, (..., S, A) for each seat i; all are logits.

    step_j = d V_j(own) / d own_j depends on own_i, too. This is the second term of the derivative, by which LOLA shapes
    the others.
    """
    steps = own_gradients(values, own, own, again=True)
    return own_gradients(values, own, [each + look_ahead * step for each, step in zip(own, steps, strict=True)])


@dataclass
class LOLA:
    """Plays against: itself after a naive step. Anchored to: nothing. Magnet: none. The step size is the responder's.

    Raises ValueError for a negative look-ahead.
    """

    STATE = ()

    look_ahead: float = 25.0  # eta: assumed step of the others; 0: naive learning

    def __post_init__(self) -> None:
        check_fields("solver", self, "look_ahead", least=0)

    def solve(
        self, profile: Profile, responder: GradientAscent, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is one of logits."""
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: GradientAscent, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            gradients = lola_gradients(responder.game.values, copy_logits(profile), self.look_ahead)
            step = responder.ascend(profile, gradients, Work(gradients=2))
            yield Progress(iteration, profile, step.metrics, step.work)
