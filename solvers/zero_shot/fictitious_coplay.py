"""Fictitious co-play (FCP): a best response to partners that learned by self-play, to coordinate with strangers.

Strouse et al. 2021, "Collaborating with Humans without Human Data" (arXiv:2110.08176, section 3):

    1. Train N pairs by self-play, each from its own seed.
       Keep three checkpoints of each: the initial one, one with half of the final return, and the final one.
    2. Train a best response to all 3 N checkpoints, drawn with equal probability, which stay as they are.

The best response has to find out during a game who its partner is, so it should have memory (policy=gru).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.responders.learners.learner import check_learners
from marl_engine.responders.regulariser import check_supports
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Responder, Runner
from solvers.populations.pool import Pool
from solvers.zero_shot.partners import SKILLS, Pair, respond_to_pool


@dataclass
class FictitiousCoPlay:
    """Plays against: three checkpoints of each pair. Anchored to: nothing. Yields the best response to them.

    While pairs are trained, the best response is as it was at first. Raises ValueError for numbers below 1.
    """

    STATE = ("population", "pair")

    pairs: int = 8  # N
    pair_steps: int = 250  # steps of the responder for each pair

    def __post_init__(self) -> None:
        check_fields("solver", self, "pairs", "pair_steps", least=1, whole=True)
        self.population: Pool | None = None
        self.pair: Pair | None = None  # that is trained at present

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        check_supports(responder, type(self).__name__, "opponents")
        check_learners(responder, type(self).__name__)
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: Responder, after: int) -> Iterator[Progress]:
        population = resume_field(self, "population", Pool(profile), after)
        iterations = count(after + 1)
        yield from self.train_partners(profile, responder, population, after, iterations)
        yield from respond_to_pool(profile, responder, population, iterations)

    def train_partners(
        self, profile: Profile, responder: Responder, population: Pool, after: int, iterations: Iterator[int]
    ) -> Iterator[Progress]:
        """Stage 1: adds the checkpoints of N pairs to the population, one pair after the other."""
        while (number := len(population) // SKILLS) < self.pairs:
            pair = resume_field(self, "pair", Pair(responder, number, self.pair_steps), after)
            after = 0  # later pairs are new
            while not pair.is_trained:
                step = pair.learn()
                if pair.is_trained:
                    population.add_all(pair.checkpoints())
                    self.pair = None
                yield Progress(next(iterations), profile, step.metrics | {"pair": number + 1.0}, step.work)
