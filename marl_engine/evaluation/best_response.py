"""A lower bound of exploitability for games that can only be played: the gain of learned responses to a profile.

Timbers et al. 2022 (arXiv:2004.09677) learn such responses by search; here a responder learns them. A learned response
gains at most as much as a best response, so the bound can be far below the exploitability. It means something only
together with the number of steps that were spent on learning.

A response can begin with the weights of the profile, which know the game, or with new ones, which explore even if the
profile hardly mixes any more. Which of them gains more depends on the profile.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from marl_engine.errors import Refused
from marl_engine.evaluation.report import deviations
from marl_engine.evaluation.returns import SEED, mean_and_error, mean_over_seats
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import begin_newcomers
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents, Profile, Responder, Runner

STREAM = 2**20  # separates these games from those of evaluations


class LowerBound(NamedTuple):
    """What learned responses to a profile gain; the best ones gain at least as much, up to the standard error."""

    exploitability: float  # mean over the seats
    stderr: float
    returns: list[float]  # (P,) of the response in each seat
    steps: int  # of games that were played in learning all responses

    def __str__(self) -> str:
        bound = f"{self.exploitability:.4g} ± {self.stderr:.2g}"
        return f"exploitability is at least {bound} (responses learned in {self.steps:,} steps)"


def bound_exploitability(
    responder: Responder,
    profile: Profile,
    steps: int,
    episodes: int = 1024,
    runner: Runner = LOCAL,
    start: Profile | None = None,
) -> LowerBound:
    """Learns a response of each seat to a profile, for `steps` steps of games, and measures in `episodes` new games.

    The responder must be new. The responses begin with copies of `start`, by default of the profile itself, and of a
    mixture with copies of its first member. A gain is the return of a response, minus that of the profile in the same
    seat. Raises Refused if the responder plays no games.
    """
    opponents, responses = Opponents([freeze(profile)]), begin_newcomers(start or profile)
    while responder.work["steps"] < steps:
        responder.respond(responses, opponents)
        if not responder.work["steps"]:
            raise Refused(
                f"{type(responder).__name__} plays no steps of games, so responses cannot be learned for a number of "
                "steps; take a run that learns from play, such as one with responder=ippo"
            )
    matches = [Lineup(each) for each in [*deviations(responses, profile), profile]]
    *against, own = score_lineups(runner, responder.game, matches, derive_seeds(SEED + STREAM, episodes))
    gain, error = mean_and_error(mean_over_seats(against) - own.mean(1))
    returns = [payoffs[:, seat].mean().item() for seat, payoffs in enumerate(against)]
    return LowerBound(gain, error, returns, responder.work["steps"])


def choose_larger(bounds: Sequence[LowerBound]) -> LowerBound:
    """Returns the largest of several bounds for one profile, with the steps of all of them.

    If two bounds differ by chance only, the larger one is too large by about half of its standard error.
    """
    return max(bounds, key=attrgetter("exploitability"))._replace(steps=sum(each.steps for each in bounds))
