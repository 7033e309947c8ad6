"""Fictitious co-play (FCP): a best response to partners that learned by self-play, to coordinate with strangers.

Strouse et al. 2021, "Collaborating with Humans without Human Data" (arXiv:2110.08176, section 3):

    1. Train N pairs by self-play, each from its own seed.
       Keep three checkpoints of each: the initial one, one with half of the final return, and the final one.
    2. Train a best response to all 3 N checkpoints, drawn with equal probability, which stay as they are.

Pairs do not depend on each other: each takes one step in an iteration of stage 1, and a runner with workers trains them
at the same time. The best response has to find out during a game who its partner is, so it should have memory
(policy=gru) where the state of the game does not show it. Departure: with `start="best"` it starts as the pair that
earns most, which takes fewer steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.populations.pool import Pool
from marl_engine.responders.learners.learner import Training, check_learners, join_steps, train_learners
from marl_engine.responders.regulariser import check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Profile, Progress, Responder, Runner, Work
from solvers.zero_shot.partners import Pair, respond_to_pool

NEW, BEST = "new", "best"


@dataclass
class FictitiousCoPlay:
    """Plays against: three checkpoints of each pair. Anchored to: nothing. Yields the best response to them.

    While pairs are trained, the best response is as it was at first. Raises ValueError for numbers below 1.
    """

    STATE = ("population", "team")
    concurrent = True

    pairs: int = 8  # N
    pair_steps: int = 250  # steps of the responder for each pair
    pair_pace: float = 1.0  # length of the schedules of a pair, as a multiple of those of the best response
    start: str = NEW  # policies that the best response starts from: new ones, or those of the pair that earns most

    def __post_init__(self) -> None:
        check_fields("solver", self, "pairs", "pair_steps", least=1, whole=True)
        check_fields("solver", self, "pair_pace", above=0)
        check_choices("solver", self, start=(NEW, BEST))
        self.population: Pool | None = None
        self.team: list[Pair] | None = None  # the pairs in training; none once they are trained

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents")
        check_learners(responder, type(self).__name__)
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        population = resume_field(self, "population", Pool(profile), after)
        iterations = count(after + 1)
        if not len(population):
            new = [Pair(responder, number, self.pair_steps, self.pair_pace) for number in range(self.pairs)]
            pairs = resume_field(self, "team", new, after)
            for iteration in islice(iterations, self.pair_steps - pairs[0].trained):
                metrics, work = self.train_partners(pairs, population, runner)
                if self.start == BEST and pairs[0].is_trained:
                    best = max(pairs, key=lambda pair: pair.latest)
                    load_profile_state(profile, profile_state(best.learner.profile))
                yield Progress(iteration, profile, metrics, work)
        yield from respond_to_pool(profile, responder, population, iterations)

    def train_partners(self, pairs: list[Pair], population: Pool, runner: Runner) -> tuple[Metrics, Work]:
        """Stage 1: trains all pairs by a step of self-play; the last one adds their checkpoints to the population.

        Returns mean metrics, and the work of all.
        """
        results = train_learners([Training(pair.learner) for pair in pairs], runner)
        for pair, (learner, step) in zip(pairs, results, strict=True):
            pair.note(learner, step)
        if pairs[0].is_trained:
            population.add_all(checkpoint for pair in pairs for checkpoint in pair.checkpoints())
            self.team = None
        metrics, work, _ = join_steps([step for _, step in results])
        return metrics | {"pairs": float(len(pairs))}, work
