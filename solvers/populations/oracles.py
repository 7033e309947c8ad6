"""Oracles: newcomers of a population, and their training against fixed opponents."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from marl_engine.capabilities import capabilities_of
from marl_engine.policies.mixtures.population import begin_newcomers
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TablePolicy
from marl_engine.populations.population import Population
from marl_engine.types import Opponents, Policy, Profile, Responder, Step, Work

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


def train(responder: Responder, newcomers: Profile, opponents: Opponents, steps: int) -> Step:
    """Trains newcomers in place by some steps of the responder; returns the last metrics, and the work of all."""
    fixed, work = tabulate_opponents(responder.game, opponents), Work()
    for _ in range(steps):
        step = responder.respond(newcomers, fixed)
        work += step.work
    return Step(step.metrics, work)


def tabulate_opponents(game: Any, opponents: Opponents) -> Opponents:
    """Returns opponents that play the same, of which those that are functions of an information set are tables.

    A mixture of networks then costs no more than a look-up. Opponents in other games are returned as they are.
    """
    extensive = capabilities_of(game).extensive
    if extensive is None or not all(policy.tabular for profile in opponents.members for policy in profile):
        return opponents
    strategies = [extract_strategy(extensive, profile) for profile in opponents.members]
    members: list[Profile] = [
        [TablePolicy(extensive.form, extensive.legal, seat, strategy) for seat in range(game.players)]
        for strategy in strategies
    ]
    return Opponents(members, opponents.weights)


def found_population(profile: Profile, responder: Responder) -> Population:
    """Returns a population whose first members are the policies of a profile.

    It is symmetric if the game is, and one policy sits in all seats.
    """
    population = Population(len(profile), responder.game.symmetric and len(set(profile)) == 1)
    population.grow(begin_newcomers(profile))
    return population
