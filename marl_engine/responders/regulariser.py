"""What holds a learner near others: an anchor, a magnet, and the weights of their KL terms."""

from marl_engine.numerics.checks import check_number
from marl_engine.types import Profile, Responder


def check_step(step_size: float, magnet_weight: float, infinite: bool = False) -> None:
    """Raises ValueError for a step that is not above 0, or infinite where that is not meant, and a magnet_weight below
    0.
    """
    check_number("solver.step_size", step_size, above=0, infinite=infinite)
    check_number("solver.magnet_weight", magnet_weight, least=0)


def check_regularises(responder: Responder, asks: str) -> None:
    """Raises ValueError for a responder that cannot hold a learner near anchors and magnets."""
    if not getattr(responder, "regularises", True):
        raise ValueError(f"{asks} holds its learners near others, which responder=ascent cannot; use solver=self_play")


def kl_terms(
    magnet: Profile | None, magnet_weight: float, anchor: Profile | None, step_size: float
) -> list[tuple[Profile, float]]:
    """The profiles that a responder holds a learner near, and the weights of KL(learner || profile): those above 0."""
    near = ((magnet, magnet_weight), (anchor, 1 / step_size))
    return [(profile, weight) for profile, weight in near if profile is not None and weight > 0]
