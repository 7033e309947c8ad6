"""Reward modelling: comparisons of trajectories become a reward for each step, and that an ordinary learner's.

Christiano et al. 2017 (arXiv:1706.03741), the baseline of SPO (Swamy et al. 2024, arXiv:2401.04056, section 4):
iterated, the model is fitted again to comparisons of what the policy does now; fitted once (`refit_every` 0), it only
knows what the first policy did.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame, spaces_of
from marl_engine.numerics.checks import check_fields
from marl_engine.responders.preference.reward_model import Comparisons, RewardModel
from marl_engine.responders.preference.trajectories import comparing, give_verdicts, stretched, summaries, whole
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Game, Objective, Payoff, Profile, Progress, Responder, Runner, Work


@dataclass
class RewardModelling:
    """Plays for: the reward model. Anchored to: itself, by the responder's clip. Magnet: none.

    Raises ValueError for numbers out of range.
    """

    refit_every: int = 1  # iterations; 0: fitted once
    comparisons: int = 500  # at each fit, of trajectories of the policy as it is then
    updates: int = 30  # steps down the loss at each fit; at the first, ten times as many
    memory: int = 10  # fits whose comparisons are learned from
    hidden: Sequence[int] = (64, 64)
    learning_rate: float = 1e-3
    timed: bool = False  # whether the model knows the time of a step

    def __post_init__(self) -> None:
        check_fields("solver", self, "refit_every", least=0, whole=True)
        check_fields("solver", self, "comparisons", "updates", "memory", least=1, whole=True)
        check_fields("solver", self, "learning_rate", above=0)
        self.queries = 0
        self.model: RewardModel | None = None
        self.asked: list[Comparisons] = []
        self.saved: Mapping[str, Any] | None = None

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The responder is one that plays whole trajectories of a game that compares them."""
        return self._solve(profile, responder, comparing(responder, type(self).__name__), after)

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
                    self._ask(judge, summaries(judge, trajectory), steps, responder.seed)
                    losses += self._fit(responder.seed)
                return self._earned(steps, len(trajectory.reward))

            step = responder.respond(profile, objective=Objective(payoff=Payoff(payoff)))
            metrics = step.metrics | ({"loss/model": losses[-1]} if losses else {})
            yield Progress(iteration, profile, metrics, step.work + Work(queries=self.queries - before))

    def _begin(self, responder: Responder, after: int) -> None:
        """A new model, or the one that was saved."""
        features = responder.game.observation_shape[0] - (not self.timed) + responder.game.actions
        if after == 0 or self.model is None:
            self.model = RewardModel(features, self.hidden, self.learning_rate, responder.seed, responder.device)
        if after == 0:
            self.queries, self.asked = 0, []
        elif self.saved is not None:
            self.model.restore(self.saved)
            self.asked = [Comparisons(*(part.to(responder.device) for part in each)) for each in self.asked]
        self.saved = None

    def _steps(self, trajectory: Trajectory, game: Game, horizon: int) -> Tensor:
        """What the model knows each step by: observation and action, (H, N, F)."""
        seen, action = trajectory.observation[:, :, 0], trajectory.action[:, :, 0]
        spaces = spaces_of(game)
        if spaces is None or not spaces.action.is_box:
            action = F.one_hot(action, game.actions)
        shown = torch.cat([seen if self.timed else seen[..., :-1], action], dim=-1)
        return whole(shown, horizon)

    def _ask(self, judge: TrajectoryPreferenceGame, found: Tensor, steps: Tensor, seed: int) -> None:
        """Compares pairs of trajectories summarised as (N, K), drawn by the number of questions so far."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + self.queries)
        one = torch.randint(len(found), (self.comparisons,), generator=generator)
        other = (one + torch.randint(1, len(found), (self.comparisons,), generator=generator)) % len(found)
        one, other = one.to(found.device), other.to(found.device)
        outcomes = give_verdicts(judge.preferred(found[one], found[other]), seed, self.queries)
        self.queries += self.comparisons
        self.asked = [*self.asked, Comparisons(steps, torch.stack([one, other], dim=1), outcomes)][-self.memory :]

    def _fit(self, seed: int) -> list[float]:
        """Steps down the loss, on the latest comparisons and on remembered ones in turn; the losses."""
        assert self.model is not None
        generator = torch.Generator().manual_seed(seed * 1_000_003 + self.queries)
        first = self.queries == self.comparisons
        losses = []
        for update in range(10 * self.updates if first else self.updates):
            place = int(torch.randint(len(self.asked), (), generator=generator)) if update % 2 else -1
            losses.append(self.model.improve(self.asked[place]))
        return losses

    def _earned(self, steps: Tensor, turns: int) -> Tensor:
        """What the model pays (T, B, 1) for steps (H, N, F)."""
        assert self.model is not None
        return stretched(self.model.standardised(steps), turns, len(steps))

    def state(self) -> dict[str, Any]:
        """The model, what it was fitted to, and how many comparisons were asked for."""
        model = self.saved if self.model is None or self.saved is not None else self.model.state()
        asked = [each._asdict() for each in self.asked]
        return {"queries": self.queries, "asked": asked, "model": model}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.queries, self.saved = state["queries"], state["model"]
        self.asked = [Comparisons(**each) for each in state["asked"]]
