"""Partners for zero-shot coordination: pairs that learn by self-play, and their checkpoints of different skill.

Strouse et al. 2021 (arXiv:2110.08176, section 3) keep three checkpoints of a pair: the initial one, the last one, and
one in between that earns half as much as the last. Weaker partners make a best response to them robust. Departure: the
one in between is where the return is nearest to the middle of first and last return, so that games with negative
payoffs have such a checkpoint too.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import isnan, nan
from typing import Any

import numpy as np

from marl_engine.policies.weights import copy_with_profile_state, profile_state
from marl_engine.populations.pool import Pool
from marl_engine.responders.learners.learner import Learner, number_learner, scale_schedules
from marl_engine.types import UNREGULARISED, Objective, Profile, Progress, Responder, Step

SKILLS = 3  # checkpoints of a pair: initial, half of the return, final
PARTS = 11  # of a pair's steps; a checkpoint is kept after each, and that in between is one of them


class Pair:
    """A team that learns by self-play, for a number of steps of the responder.

    While it learns it keeps a checkpoint after every steps // PARTS steps, with the mean return at that time. Its
    schedules take `pace` times as long as those of the responder.
    """

    STATE = ("learner", "trained", "candidates", "returns", "latest")

    def __init__(self, responder: Responder, number: int, steps: int, pace: float = 1.0):
        self.learner = number_learner(scale_schedules(responder, pace), number)
        self.steps, self.trained = steps, 0
        self.latest = nan  # the mean return of the games that ended last
        self.candidates: list[dict[str, Any]] = []  # as `profile_state`
        self.returns: list[float] = []
        self._keep()

    @property
    def is_trained(self) -> bool:
        """Whether it has learned for all its steps."""
        return self.trained >= self.steps

    def learn(self, objective: Objective = UNREGULARISED) -> Step:
        """Takes one step of self-play."""
        step = self.learner.learn(objective=objective)
        self.note(self.learner, step)
        return step

    def note(self, learner: Learner, step: Step) -> None:
        """Takes note of a step that was taken, and goes on with the learner that took it."""
        self.learner = learner
        self.trained += 1
        self.latest = step.metrics.get("return/mean", self.latest)
        if isnan(self.returns[0]):
            self.returns[0] = self.latest
        if self.is_trained or self.trained % max(1, self.steps // PARTS) == 0:
            self._keep()

    def checkpoints(self) -> list[Profile]:
        """Returns the initial team, the one in between, and the final one, frozen."""
        places = (0, choose_half(self.returns), -1)
        return [copy_with_profile_state(self.learner.profile, self.candidates[place]) for place in places]

    def _keep(self) -> None:
        self.candidates.append(deepcopy(profile_state(self.learner.profile)))
        self.returns.append(self.latest)


def choose_half(returns: Sequence[float]) -> int:
    """Returns the place of the return that is nearest to the middle of the first and the last one; the first such.

    Returns that are not known (nan) are passed over, and 0 is returned if none is known.
    """
    numbers = np.array(returns)
    gaps = np.abs(numbers - (numbers[0] + numbers[-1]) / 2)
    return int(np.nan_to_num(gaps, nan=np.inf).argmin())


def respond_to_pool(
    profile: Profile, responder: Responder, pool: Pool, iterations: Iterator[int]
) -> Iterator[Progress]:
    """Trains a profile with all members of a pool, drawn with equal probability; yields progress without end."""
    opponents = pool.opponents()
    for iteration in iterations:
        step = responder.respond(profile, opponents)
        yield Progress(iteration, profile, step.metrics | {"members": float(len(pool))}, step.work)
