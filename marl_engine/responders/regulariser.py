"""Checks of objectives, and the KL terms that an objective has."""

from collections.abc import Sequence
from typing import NamedTuple

from marl_engine.numerics.checks import check_number
from marl_engine.types import Objective, Opponents, Policy, Profile, Responder


class KLTerm(NamedTuple):
    """A policy that the learner is held near: it pays `weight` * KL(pi || policy), in units of payoff."""

    policy: Policy
    weight: float


def check_step(step_size: float, magnet_weight: float, infinite: bool = False) -> None:
    """Raises ValueError for a step_size not above 0, or infinite without `infinite`, and a negative
    magnet_weight.
    """
    check_number("solver.step_size", step_size, above=0, infinite=infinite)
    check_number("solver.magnet_weight", magnet_weight, least=0)


def check_supports(responder: Responder, name: str, *needs: str) -> None:
    """Raises ValueError if a responder does not support what a solver needs. `name` is the solver's."""
    missing = [need for need in needs if need not in responder.supports]
    if missing:
        raise ValueError(
            f"{name} needs a responder that supports {', '.join(needs)}; {type(responder).__name__} supports "
            f"{', '.join(sorted(responder.supports)) or 'none of these'}: choose another responder="
        )


def check_plays(responder: Responder, name: str) -> None:
    """Raises ValueError if a responder learns without playing games. `name` is that of the solver."""
    if "steps" not in responder.work:
        raise ValueError(
            f"{name} needs a responder that plays games, such as responder=ippo with policy=network, not "
            f"{type(responder).__name__}"
        )


def check_objective(responder: Responder, opponents: Opponents | None, objective: Objective) -> None:
    """Raises ValueError if a responder does not support the opponents or terms of an objective."""
    asks = {
        "opponents": opponents is not None,
        "payoff": objective.payoff is not None,
        "anchor": objective.anchor is not None and objective.step_size < float("inf"),
        "magnet": objective.magnet is not None and objective.magnet_weight > 0,
    }
    check_supports(responder, "this objective", *(name for name, is_used in asks.items() if is_used))


def kl_terms(objective: Objective) -> list[tuple[Profile, float]]:
    """Returns the profiles in the KL terms of an objective, with their weights, which are above 0."""
    terms = ((objective.magnet, objective.magnet_weight), (objective.anchor, 1 / objective.step_size))
    return [(profile, weight) for profile, weight in terms if profile is not None and weight > 0]


def check_memories(learner: Policy, others: Sequence[Policy]) -> None:
    """Raises ValueError for policies whose probabilities are unknown where a learner learns.

    One that remembers is unrolled through stretches of play, from which a learner without memory does not learn.
    """
    for other in others:
        unrolled = learner.unit == other.unit == "sequence"
        if not unrolled and other.initial_memory(1) is not None:
            raise ValueError(
                f"{type(learner).__name__} cannot be held near {type(other).__name__}, which remembers: both must "
                'learn by sequences (`unit = "sequence"`), as recurrent policies do'
            )
