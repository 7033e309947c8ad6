"""Learners: profiles that learn beside each other in one run, each by a responder of its own."""

from dataclasses import is_dataclass, replace
from typing import Any

import torch

from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_fields
from marl_engine.responders.regulariser import check_plays
from marl_engine.runners import LOCAL
from marl_engine.types import UNREGULARISED, Objective, Opponents, Profile, Responder, Step

LEARNERS = 2**44  # separates the seeds of learners from those of games


class Learner:
    """A new profile, and a copy of a responder that has learned nothing.

    Its policies, critic, optimisers, games and schedules are its own. All are functions of the responder's seed and of
    a number, so learners with different numbers are as different as runs with different seeds. See `check_learners`.
    """

    STATE = ("profile", "responder")

    def __init__(self, responder: Responder, number: int):
        with torch.random.fork_rng(devices=[]):
            seed = int(derive_seeds(responder.seed + LEARNERS, number + 1)[number]) % 2**32
            torch.manual_seed(seed)
            copy: Any = replace(responder, seed=seed)  # type: ignore[type-var]
            spec, self.responder = copy.network, copy
            self.profile: Profile = [policy.to(responder.device) for policy in spec.profile(responder.game)]
            self.responder.prepare(self.profile)

    def learn(self, opponents: Opponents | None = None, objective: Objective = UNREGULARISED) -> Step:
        """Moves the profile by one step; see `Responder.respond`."""
        return self.responder.respond(self.profile, opponents, objective)

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint."""
        self.responder.prepare(self.profile)
        return get_fields(self)


def play_locally(responder: Any) -> Any:
    """Returns a copy of a responder that runs its jobs where it is, or the responder if it has no runner."""
    return replace(responder, runner=LOCAL) if "runner" in vars(responder) else responder


def check_learners(responder: Any, name: str) -> None:
    """Raises ValueError unless learners can be made of a responder. `name` is that of the solver that needs them."""
    if not is_dataclass(type(responder)) or vars(responder).get("network") is None:
        raise ValueError(f"{name} copies its responder, so this must be a dataclass with the fields seed and network")
    check_plays(responder, name)  # otherwise all learners would be alike
