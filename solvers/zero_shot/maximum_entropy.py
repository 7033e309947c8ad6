"""Maximum-entropy population (MEP): a best response to pairs that are rewarded for playing unlike each other.

Zhao et al. 2023, "Maximum Entropy Population-Based Training for Zero-Shot Human-AI Coordination" (arXiv:2112.11701):

    1. Train N pairs by self-play, in turn. Each is paid the entropy of the population besides the game's reward:
           r(s, a) - alpha * log mean_k pi_k(a | s)
       Keep three checkpoints of each, as in fictitious co-play.
    2. Train a best response to all 3 N checkpoints.

Departures: pairs take turns instead of being drawn; in stage 2 checkpoints are drawn with equal probability, as in
fictitious co-play, where the paper prefers those with which the response earns least; and a pair with memory is
compared with others as if they remembered what it did.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.populations.pool import Pool
from marl_engine.responders.learners.learner import check_learners
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.likelihood import action_log_probs, check_likelihood
from marl_engine.rollout.rollout import Trajectory
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Payoff, Profile, Progress, Responder, Runner
from solvers.zero_shot.partners import Pair, respond_to_pool


@dataclass
class MaximumEntropyPopulation:
    """Plays against: three checkpoints of each pair. Anchored to: nothing. Yields the best response to them.

    While pairs are trained, the best response is as it was at first. Raises ValueError for numbers out of range.
    """

    STATE = ("population", "team")

    pairs: int = 8  # N
    pair_steps: int = 250  # steps of the responder for each pair
    pair_pace: float = 1.0  # length of the schedules of a pair, as a multiple of those of the best response
    population_entropy: float = 0.05  # alpha, in units of the game's payoff

    def __post_init__(self) -> None:
        check_fields("solver", self, "pairs", "pair_steps", least=1, whole=True)
        check_fields("solver", self, "pair_pace", above=0)
        check_fields("solver", self, "population_entropy", least=0)
        self.population: Pool | None = None
        self.team: list[Pair] | None = None  # the pairs in training; none once they are trained

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents", "payoff")
        check_learners(responder, type(self).__name__)
        for policy in profile:
            check_likelihood(policy)
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        population = resume_field(self, "population", Pool(profile), after)
        iterations = count(after + 1)
        if not len(population):
            yield from self.train_partners(profile, responder, population, after, iterations)
        yield from respond_to_pool(profile, responder, population, iterations)

    def train_partners(
        self, profile: Profile, responder: Responder, population: Pool, after: int, iterations: Iterator[int]
    ) -> Iterator[Progress]:
        """Stage 1: trains N pairs in turn, and adds their checkpoints to the population when all are trained."""
        new = [Pair(responder, number, self.pair_steps, self.pair_pace) for number in range(self.pairs)]
        team = resume_field(self, "team", new, after)
        teams = [pair.learner.profile for pair in team]
        objective = Objective(payoff=Payoff(partial(add_entropy, teams=teams, weight=self.population_entropy)))
        while not all(pair.is_trained for pair in team):
            number = min(range(self.pairs), key=lambda each: team[each].trained)
            step = team[number].learn(objective)
            if all(pair.is_trained for pair in team):
                population.add_all(checkpoint for pair in team for checkpoint in pair.checkpoints())
                self.team = None
            yield Progress(next(iterations), profile, step.metrics | {"pair": number + 1.0}, step.work)


@torch.no_grad()
def add_entropy(trajectory: Trajectory, teams: list[Profile], weight: float) -> Tensor:
    """Returns rewards (T, B, P) - weight * log mean_k pi_k(a | s), where seats act; k counts the N teams."""
    bonus = torch.zeros_like(trajectory.reward)
    for seat in range(bonus.shape[-1]):
        log_probs = torch.stack([action_log_probs(team[seat], trajectory, seat) for team in teams])
        bonus[..., seat] = -log_probs.exp().mean(0).log()
    return trajectory.reward + weight * bonus * trajectory.acting
