"""SPO beyond text: the reward of a trajectory is how often it is preferred to the learner's own recent ones.

Swamy et al. 2024, "A Minimaximalist Approach to Reinforcement Learning from Human Feedback" (arXiv:2401.04056,
algorithm 2): self-play, so that one learner is enough, and no reward model. Under preferences that run in circles it
is the average of its policies that is the minimax winner, not the last of them.

A win rate, less one half, is earned in every step: its share of the trajectory, times the horizon. It is known only at
the end, so what a step is followed by holds more of it early than late; with a discount that evens out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame
from marl_engine.numerics.checks import check_fields
from marl_engine.responders.preference.trajectories import comparing, contest, stretched, summaries, win_rates
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Payoff, Profile, Progress, Responder, Runner, Work


@dataclass
class TrajectorySPO:
    """Plays against: its recent trajectories. Anchored to: itself, by the responder's clip. Magnet: none.

    Raises ValueError for a queue below 0.
    """

    STATE = ("recent", "queries")

    queue: int = 64  # |Q|: earlier trajectories that new ones are compared with, beside each other

    def __post_init__(self) -> None:
        check_fields("solver", self, "queue", least=0, whole=True)
        self.recent, self.queries = torch.zeros(0, 0), 0

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The responder is one that plays whole trajectories of a game that compares them."""
        return self._solve(profile, responder, comparing(responder, type(self).__name__), after)

    def _solve(
        self, profile: Profile, responder: Responder, judge: TrajectoryPreferenceGame, after: int
    ) -> Iterator[Progress]:
        if after == 0:
            self.recent, self.queries = torch.zeros(0, 0), 0

        def payoff(trajectory: Trajectory) -> Tensor:
            rates = self.judged(judge, summaries(judge, trajectory), responder.seed)
            return stretched(rates - 0.5, len(trajectory.reward), judge.horizon)

        for iteration in count(after + 1):
            before = self.queries
            step = responder.respond(profile, objective=Objective(payoff=Payoff(payoff)))
            yield Progress(iteration, profile, step.metrics, step.work + Work(queries=self.queries - before))

    def judged(self, judge: TrajectoryPreferenceGame, new: Tensor, seed: int) -> Tensor:
        """Win rates (N,) of new trajectories (N, K), which join the queue."""
        old = self.recent.to(new.device) if self.recent.numel() else new[:0]
        outcomes, asked = contest(judge, new, old, seed, self.queries)
        self.queries += asked
        self.recent = torch.cat([old, new])[-self.queue :] if self.queue else new[:0]
        return win_rates(outcomes)
