"""What responders are asked for: opponents, a payoff, and the KL terms of an anchor and a magnet."""

from marl_engine.numerics.checks import check_number
from marl_engine.types import Objective, Opponents, Profile, Responder


def check_step(step_size: float, magnet_weight: float, infinite: bool = False) -> None:
    """Raises ValueError for a step that is not above 0, or infinite where that is not meant, and a magnet_weight below
    0.
    """
    check_number("solver.step_size", step_size, above=0, infinite=infinite)
    check_number("solver.magnet_weight", magnet_weight, least=0)


def check_supports(responder: Responder, name: str, *needs: str) -> None:
    """Raises ValueError, in the name of a solver, for a responder that does not support all that the solver needs."""
    missing = [need for need in needs if need not in responder.supports]
    if missing:
        raise ValueError(
            f"{name} needs a responder that supports {', '.join(needs)}; {type(responder).__name__} supports "
            f"{', '.join(sorted(responder.supports)) or 'none of these'}: choose another responder="
        )


def check_objective(responder: Responder, opponents: Opponents | None, objective: Objective) -> None:
    """Raises ValueError for opponents and terms of an objective that a responder does not support."""
    asks = {
        "opponents": opponents is not None,
        "payoff": objective.payoff is not None,
        "anchor": objective.anchor is not None and objective.step_size < float("inf"),
        "magnet": objective.magnet is not None and objective.magnet_weight > 0,
    }
    check_supports(responder, "this objective", *(name for name, asked in asks.items() if asked))


def kl_terms(objective: Objective) -> list[tuple[Profile, float]]:
    """The profiles that an objective holds a learner near, with the weights of KL(learner || profile) above 0."""
    terms = ((objective.magnet, objective.magnet_weight), (objective.anchor, 1 / objective.step_size))
    return [(profile, weight) for profile, weight in terms if profile is not None and weight > 0]


def one_opponent(opponents: Opponents | None) -> Profile | None:
    """The profile of opponents that are one. Raises ValueError for more than one."""
    if opponents is None:
        return None
    if len(opponents.members) != 1:
        raise ValueError(f"this responder meets one profile of opponents, not {len(opponents.members)}")
    return opponents.members[0]
