"""SPO for trajectories: the reward of a trajectory is its win rate against recent trajectories of the learner.

Swamy et al. 2024, "A Minimaximalist Approach to Reinforcement Learning from Human Feedback" (arXiv:2401.04056,
algorithm 2). One learner plays against itself, without a reward model. The average of its policies converges to the
minimax winner; if preferences are cyclic, the last policy does not.

The win rate minus 1/2 is the reward of every step of the trajectory, so the return is their product with the horizon.
Without a discount, early steps have larger returns than late ones; a discount evens this out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame
from marl_engine.numerics.checks import check_fields
from marl_engine.responders.preference.trajectories import (
    compare_trajectories,
    repeat_over_steps,
    summaries,
    trajectory_game,
    win_rates,
)
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Payoff, Profile, Progress, Responder, Runner, Work


@dataclass
class TrajectorySPO:
    """Plays against: its recent trajectories. Anchored to: itself, by the responder's clip. Magnet: none.

    Raises ValueError for a queue below 0.
    """

    STATE = ("recent", "queries")

    queue: int = 64  # |Q|: number of earlier trajectories that new ones are compared with

    def __post_init__(self) -> None:
        check_fields("solver", self, "queue", least=0, whole=True)
        self.recent, self.queries = torch.zeros(0, 0), 0

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The responder must play whole trajectories of a game that compares them."""
        return self._solve(profile, responder, trajectory_game(responder, type(self).__name__), after)

    def _solve(
        self, profile: Profile, responder: Responder, judge: TrajectoryPreferenceGame, after: int
    ) -> Iterator[Progress]:
        if after == 0:
            self.recent, self.queries = torch.zeros(0, 0), 0

        def payoff(trajectory: Trajectory) -> Tensor:
            rates = self._win_rates(judge, summaries(judge, trajectory), responder.seed)
            return repeat_over_steps(rates - 0.5, len(trajectory.reward), judge.horizon)

        for iteration in count(after + 1):
            before = self.queries
            step = responder.respond(profile, objective=Objective(payoff=Payoff(payoff)))
            yield Progress(iteration, profile, step.metrics, step.work + Work(queries=self.queries - before))

    def _win_rates(self, judge: TrajectoryPreferenceGame, new: Tensor, seed: int) -> Tensor:
        """Returns the win rates (N,) of new trajectories (N, K), and adds these to the queue."""
        old = self.recent.to(new.device) if self.recent.numel() else new[:0]
        outcomes, queries = compare_trajectories(judge, new, old, seed, self.queries)
        self.queries += queries
        self.recent = torch.cat([old, new])[-self.queue :] if self.queue else new[:0]
        return win_rates(outcomes)
