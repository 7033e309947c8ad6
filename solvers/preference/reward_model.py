"""Reward modelling: fits a reward for each step to comparisons of trajectories, and maximises it.

Christiano et al. 2017 (arXiv:1706.03741), the baseline of SPO (Swamy et al. 2024, arXiv:2401.04056, section 4). The
model is fitted again every `refit_every` iterations to comparisons of the present policy's trajectories. With
`refit_every` 0 it is fitted once, to trajectories of the initial policy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame, spaces_of
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.responders.preference.reward_model import RewardModel, TrajectoryComparisons
from marl_engine.responders.preference.trajectories import (
    repeat_over_steps,
    sample_verdicts,
    split_trajectories,
    summaries,
    trajectory_game,
)
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Game, Objective, Payoff, Profile, Progress, Responder, Runner, Work


@dataclass
class RewardModelling:
    """Plays for: the reward model. Anchored to: itself, by the responder's clip. Magnet: none.

    Raises ValueError for numbers out of range.
    """

    STATE = ("queries", "compared", "model")

    refit_every: int = 1  # iterations; 0: fitted once
    comparisons: int = 500  # at each fit, of trajectories of the policy as it is then
    updates: int = 30  # gradient steps at each fit; ten times as many at the first
    memory: int = 10  # recent fits whose comparisons are used
    hidden: Sequence[int] = (64, 64)
    learning_rate: float = 1e-3
    timed: bool = False  # whether the model knows the time of a step

    def __post_init__(self) -> None:
        check_fields("solver", self, "refit_every", least=0, whole=True)
        check_fields("solver", self, "comparisons", "updates", "memory", least=1, whole=True)
        check_fields("solver", self, "learning_rate", above=0)
        self.queries = 0
        self.model: RewardModel | None = None
        self.compared: list[Sequence[Tensor]] = []  # fields of `TrajectoryComparisons`, by fit

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The responder must play whole trajectories of a game that compares them."""
        return self._solve(profile, responder, trajectory_game(responder, type(self).__name__), after)

    def _solve(
        self, profile: Profile, responder: Responder, judge: TrajectoryPreferenceGame, after: int
    ) -> Iterator[Progress]:
        self._begin(responder, after)
        for iteration in count(after + 1):
            losses: list[float] = []
            before = self.queries
            refit = iteration == 1 if self.refit_every == 0 else (iteration - 1) % self.refit_every == 0

            def payoff(trajectory: Trajectory, refit: bool = refit, losses: list[float] = losses) -> Tensor:
                steps = self._steps(trajectory, responder.game, judge.horizon)
                if refit:
                    generator = torch.Generator().manual_seed(responder.seed * 1_000_003 + self.queries)
                    self._ask(judge, summaries(judge, trajectory), steps, responder.seed, generator)
                    losses += self._fit(generator)
                return self._rewards(steps, len(trajectory.reward))

            step = responder.respond(profile, objective=Objective(payoff=Payoff(payoff)))
            metrics = step.metrics | ({"loss/model": losses[-1]} if losses else {})
            yield Progress(iteration, profile, metrics, step.work + Work(queries=self.queries - before))

    def _begin(self, responder: Responder, after: int) -> None:
        """Creates the model, or restores that of a checkpoint."""
        features = responder.game.observation_shape[0] - (not self.timed) + responder.game.actions
        model = RewardModel(features, self.hidden, self.learning_rate, responder.seed, responder.device)
        resume_field(self, "model", model, after)
        if after == 0:
            self.queries, self.compared = 0, []
        self.compared = [[part.to(responder.device) for part in each] for each in self.compared]

    def _steps(self, trajectory: Trajectory, game: Game, horizon: int) -> Tensor:
        """Returns the features of steps (H, N, F): observation and action."""
        observation, action = trajectory.observation[:, :, 0], trajectory.action[:, :, 0]
        if not spaces_of(game).action.is_box:
            action = F.one_hot(action, game.actions)
        features = torch.cat([observation if self.timed else observation[..., :-1], action], dim=-1)
        return split_trajectories(features, horizon)

    def _ask(
        self,
        judge: TrajectoryPreferenceGame,
        summary: Tensor,
        steps: Tensor,
        seed: int,
        generator: torch.Generator,
    ) -> None:
        """Compares random pairs of trajectories with summaries (N, K), and remembers the outcomes.

        Raises ValueError for a single trajectory.
        """
        if len(summary) < 2:
            raise ValueError("pairs of trajectories are compared, and there is one; use responder.num_envs=2 or more")
        one = torch.randint(len(summary), (self.comparisons,), generator=generator)
        other = (one + torch.randint(1, len(summary), (self.comparisons,), generator=generator)) % len(summary)
        one, other = one.to(summary.device), other.to(summary.device)
        outcomes = sample_verdicts(judge.compare(summary[one], summary[other]), seed, self.queries)
        self.queries += self.comparisons
        self.compared = [*self.compared, [steps, torch.stack([one, other], dim=1), outcomes]][-self.memory :]

    def _fit(self, generator: torch.Generator) -> list[float]:
        """Fits the model, on the latest comparisons and on remembered ones in turn; returns the losses."""
        assert self.model is not None
        first = self.queries == self.comparisons
        losses = []
        for update in range(10 * self.updates if first else self.updates):
            place = int(torch.randint(len(self.compared), (), generator=generator)) if update % 2 else -1
            losses.append(self.model.improve(TrajectoryComparisons(*self.compared[place])))
        return losses

    def _rewards(self, steps: Tensor, turns: int) -> Tensor:
        """Returns the model's rewards (T, B, 1) for steps (H, N, F)."""
        assert self.model is not None
        return repeat_over_steps(self.model.standardised_rewards(steps), turns, len(steps))
