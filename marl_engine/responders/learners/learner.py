"""Learners: profiles that learn beside each other in one run, each by a responder of its own.

A step of a learner is a pure job, so a runner with workers can train several at the same time: a worker gets the
policies, and a responder with the saved state, as a resumed run does.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from marl_engine.capabilities import AlgorithmResponder, missing_members
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_fields, set_state
from marl_engine.responders.batches import mean_metrics
from marl_engine.responders.regulariser import check_plays
from marl_engine.runners import LOCAL, make_gang
from marl_engine.types import UNREGULARISED, Objective, Opponents, Profile, Responder, Runner, Step, Work

LEARNERS = 2**44  # separates the seeds of learners from those of games


class SpreadResponder(Responder, Protocol):
    """A responder whose games can be spread over the workers of a runner."""

    runner: Runner
    shard: int | None  # copies of the game in a job; None: all, so that they are not spread


@runtime_checkable
class ConcurrentSolver(Protocol):
    """A solver with several learners, which can learn at the same time in workers."""

    concurrent: bool


@runtime_checkable
class ChallengingSolver(Protocol):
    """A solver that sets its learner an opponent that does not change."""

    def load_opponent(self, profile: Profile) -> Profile | None:
        """Returns the opponent of the initial policies; None: themselves."""


class Learner:
    """A profile and the responder that moves it, which moves no other."""

    STATE = ("profile", "responder")

    def __init__(self, profile: Profile, responder: Any):
        self.profile, self.responder = profile, responder

    def learn(self, opponents: Opponents | None = None, objective: Objective = UNREGULARISED) -> Step:
        """Moves the profile by one step; see `Responder.respond`."""
        step: Step = self.responder.respond(self.profile, opponents, objective)
        return step

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint."""
        self.responder.prepare(self.profile)
        return get_fields(self)

    def __reduce__(self) -> Any:
        state = self.state()["responder"]
        return resume_learner, (deepcopy(self.profile), play_locally(self.responder), state)


def make_learner(responder: Any, seed: int, profile: Profile | None = None) -> Learner:
    """Returns a profile with a copy of a responder that has learned nothing; a new profile if none is given.

    Its policies, critic, optimisers, games and schedules are its own. All are functions of the seed; see
    `check_learners`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copy = replace(responder, seed=seed)
        own = copy.network.profile(copy.game) if profile is None else profile
        learner = Learner([policy.to(copy.device) for policy in own], copy)
        copy.prepare(learner.profile)
    return learner


def number_learner(responder: Responder, number: int) -> Learner:
    """Returns a new learner. Those with different numbers are as different as runs with different seeds."""
    return make_learner(responder, learner_seed(responder.seed, number))


def scale_schedules(responder: Any, factor: float) -> Any:
    """Returns a copy of a responder that has learned nothing, whose schedules take `factor` times as long."""
    values = {field.name: vars(responder)[field.name] for field in fields(responder)}
    changes = {
        name: value | {"over": value["over"] * factor}
        for name, value in values.items()
        if isinstance(value, dict) and "over" in value
    }
    return replace(responder, **changes)


def learner_seed(seed: int, number: int) -> int:
    """Returns the seed of a learner in a run with a seed."""
    return int(derive_seeds(seed + LEARNERS, number + 1)[number]) % 2**32


def resume_learner(profile: Profile, responder: Any, state: Any) -> Learner:
    """Returns a learner whose responder is restored. Random numbers of this process do not change."""
    with torch.random.fork_rng(devices=[]):
        responder.prepare(profile)
    set_state(responder, state)
    return Learner(profile, responder)


class Training(NamedTuple):
    """What a learner is to do: take some steps against opponents. The argument of a job."""

    learner: Learner
    opponents: Opponents | None = None  # None: itself
    steps: int = 1


def train_learner(training: Training) -> tuple[Learner, Step]:
    """Returns the learner, a copy if a worker trained it, with the metrics of the last step and the work of all."""
    learner, opponents, steps = training
    work = Work()
    for _ in range(steps):
        step = learner.learn(opponents)
        work += step.work
    return learner, Step(step.metrics, work)


def train_learners(
    trainings: Sequence[Training], runner: Runner, *, if_idle: bool = False
) -> list[tuple[Learner, Step]]:
    """Trains learners that do not depend on each other; see `train_learner`.

    They learn at the same time if the runner has workers; with `if_idle` only if these do nothing else for learners. A
    learner of another library has processes of its own, and learns here.
    """
    responder = trainings[0].learner.responder
    here = not missing_members(responder, AlgorithmResponder) or (if_idle and uses_workers(responder))
    return (LOCAL if here else runner).map(train_learner, trainings)


def join_steps(steps: Sequence[Step]) -> Step:
    """Returns the mean of the metrics, and the sum of the work."""
    return Step(mean_metrics([step.metrics for step in steps]), sum((step.work for step in steps), Work()))


def uses_workers(responder: Any) -> bool:
    """Whether workers play the games of a responder, or learn with it."""
    return not missing_members(responder, SpreadResponder) and (
        responder.shard is not None or make_gang(responder.runner) is not None
    )


def play_locally(responder: Any) -> Any:
    """Returns a copy of a responder that has learned nothing, and runs its jobs where it is."""
    changes = {} if missing_members(responder, SpreadResponder) else {"runner": LOCAL}
    return replace(responder, **changes)


def check_learners(responder: Any, name: str) -> None:
    """Raises ValueError unless learners can be made of a responder. `name` is that of the solver that needs them."""
    if not is_dataclass(type(responder)) or vars(responder).get("network") is None:
        raise ValueError(f"{name} copies its responder, so this must be a dataclass with the fields seed and network")
    check_plays(responder, name)  # otherwise all learners would be alike
