"""Oracles: newcomers of a population, and their training against fixed opponents.

A responder that plays games trains the newcomer of each seat apart, by a copy of itself which has learned nothing.
These are jobs that do not depend on each other, so a runner with workers trains them at the same time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from marl_engine.capabilities import capabilities_of, missing_members
from marl_engine.numerics.checks import check_number
from marl_engine.numerics.schedules import parse_schedule
from marl_engine.numerics.state import load_weights, resume_field
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import begin_newcomers, check_mixable
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TablePolicy
from marl_engine.populations.population import Population
from marl_engine.responders.learners.learner import (
    Learner,
    SpreadResponder,
    Training,
    join_steps,
    learner_seed,
    make_learner,
    train_learner,
    train_learners,
)
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.seating import group_by_policy
from marl_engine.types import Game, Opponents, Policy, Profile, Responder, Runner, Step

FIRST, LAST, LIKELIEST = STARTS = "first", "last", "likeliest"  # members that a newcomer may start from


def start_newcomers(
    members: Sequence[Sequence[Policy]], mixtures: Sequence[np.ndarray], start: str, symmetric: bool = False
) -> Profile:
    """Returns a trainable copy of a member of each seat; one for all seats if the population is symmetric."""
    chosen = [
        own[{FIRST: 0, LAST: len(own) - 1, LIKELIEST: int(np.argmax(mixture))}[start]]
        for own, mixture in zip(members, mixtures, strict=True)
    ]
    return begin_newcomers(chosen[:1]) * len(chosen) if symmetric else begin_newcomers(chosen)


class Oracle(NamedTuple):
    """Newcomers, the seats whose newcomers are trained, and the opponents that they meet."""

    newcomers: Profile
    seats: Sequence[int]
    opponents: Opponents


def train_newcomers(
    responder: Responder, oracles: Sequence[Oracle], steps: int, iteration: int, runner: Runner
) -> Step:
    """Trains newcomers in place, by some steps of the responder each; returns the mean metrics, and the work of all."""
    fixed = [
        oracle._replace(opponents=tabulate_opponents(responder.game, oracle.opponents, responder.device))
        for oracle in oracles
    ]
    if missing_members(responder, SpreadResponder):
        jobs = [Training(Learner(oracle.newcomers, responder), oracle.opponents, steps) for oracle in fixed]
        return join_steps([train_learner(job)[1] for job in jobs])
    jobs, seed = [], learner_seed(responder.seed, iteration)
    parts = [
        (oracle, policy, learning)
        for oracle in fixed
        for policy, seats in group_by_policy(oracle.newcomers)
        if (learning := [seat for seat in seats if seat in oracle.seats])
    ]
    for number, (oracle, policy, seats) in enumerate(parts):
        others = freeze(oracle.newcomers)
        profile = [policy if seat in seats else others[seat] for seat in range(len(others))]
        learner = make_learner(responder, learner_seed(seed, number), profile)
        learner.responder.work.update(responder.work)  # schedules go on
        jobs.append(Training(learner, oracle.opponents, steps))
    results = train_learners(jobs, runner, if_idle=True)
    for (_, policy, seats), (learner, _) in zip(parts, results, strict=True):
        load_weights(policy, learner.profile[seats[0]].state_dict(), "policy")
    step = join_steps([step for _, step in results])
    responder.work.update(step.work)
    return step


def check_steps(steps: Any) -> None:
    """Raises ValueError unless steps are a whole number of 1 or more, or a schedule of such."""
    parse_schedule(steps, "solver.oracle_steps")
    numbers = {f".{part}": steps[part] for part in ("start", "end")} if isinstance(steps, dict) else {"": steps}
    for part, number in numbers.items():
        check_number(f"solver.oracle_steps{part}", number, least=1, whole=True)


def count_steps(steps: Any, iteration: int) -> int:
    """Returns the steps of the responder in an iteration, from a number or a schedule over iterations."""
    return round(parse_schedule(steps, "solver.oracle_steps").at(iteration))


def tabulate_opponents(game: Any, opponents: Opponents, device: str) -> Opponents:
    """Returns opponents that play the same, of which those that are functions of an information set are tables.

    A mixture of networks then costs no more than a look-up. Opponents in other games are returned as they are.
    """
    extensive = capabilities_of(game).extensive
    if extensive is None or not all(policy.tabular for profile in opponents.members for policy in profile):
        return opponents
    strategies = [extract_strategy(extensive, profile) for profile in opponents.members]
    members: list[Profile] = [
        [TablePolicy(extensive.form, extensive.legal, seat, strategy).to(device) for seat in range(game.players)]
        for strategy in strategies
    ]
    return Opponents(members, opponents.weights)


def check_oracles(profile: Profile, responder: Responder, name: str) -> None:
    """Raises ValueError unless a responder trains newcomers against mixtures of such policies.

    `name` is that of the solver.
    """
    check_supports(responder, name, "opponents", "mixtures")
    check_mixable(profile)


def resume_population(solver: Any, profile: Profile, game: Game, after: int) -> tuple[Population, bool]:
    """Returns the population that a solver goes on with, and whether its seats share their members.

    They are the solver's fields `population` and `symmetric`. After iteration 0 the population is new.
    """
    symmetric = resume_field(solver, "symmetric", is_symmetric(profile, game), after)
    return resume_field(solver, "population", found_population(profile, symmetric), after), symmetric


def is_symmetric(profile: Profile, game: Game) -> bool:
    """Whether seats can share their members: the game is symmetric, and one policy sits in all seats."""
    return game.symmetric and len(set(profile)) == 1


def found_population(profile: Profile, symmetric: bool) -> Population:
    """Returns a population whose first members are the policies of a profile."""
    population = Population(len(profile), symmetric)
    population.grow(begin_newcomers(profile))
    return population
