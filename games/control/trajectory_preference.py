"""Preferences between whole trajectories of a continuous-control task, without rewards.

These are the four settings of SPO (Swamy et al. 2024, arXiv:2401.04056, section 4): preferences by return, noisy,
intransitive, and non-Markovian ones. It departs from the paper in its tasks, and in that policies observe the time,
which they need to act differently early and late. If a task ends before the horizon, the copy rests until then: it
repeats its last observation and earns nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi

import torch
from torch import Tensor

from games.control.gymnasium import Control
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits
from marl_engine.spaces import Spaces
from marl_engine.types import Turn

QUARTERS, HALVES = 4, 2
CENTRE = (0.3, 0.3)  # away from the trajectories of an untrained policy, which hardly moves


def parts(numbers: Tensor, count: int) -> Tensor:
    """Returns sums of numbers (H, N) over `count` consecutive segments of nearly equal length, (N, count)."""
    bounds = [len(numbers) * part // count for part in range(count + 1)]
    return torch.stack([numbers[start:end].sum(0) for start, end in pairwise(bounds)], dim=-1)


def choice_probability(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Returns how often the first of two scores wins: sigma((first - second) / temperature).

    At temperature 0 this is 1, 1/2 or 0.
    """
    if temperature == 0:
        return 0.5 + 0.5 * (first - second).sign()
    return ((first - second) / temperature).sigmoid()


def prefer_return(first: Tensor, second: Tensor, temperature: float, limit: float) -> Tensor:
    """Prefers the larger return; these preferences are transitive."""
    return choice_probability(first[..., :QUARTERS].sum(-1), second[..., :QUARTERS].sum(-1), temperature)


def prefer_on_circle(first: Tensor, second: Tensor, temperature: float, limit: float) -> Tensor:
    """Preferences of raters around a circle, who prefer the trajectory that they meet first, going round the circle.

    The position of a trajectory is the angle of its mean actions, early and late, about `CENTRE`. With angles a and a'
    the first is preferred by a share of ((a - a') mod 2 pi) / 2 pi of the raters. Of four trajectories A, B, C and D, a
    quarter of the circle apart, three of four raters prefer A to B, B to C, C to D, and D to A. Every trajectory is
    beaten by another one; the uniform distribution on the circle is the minimax winner.
    """
    angles = []
    for summary in (first, second):
        action = summary[..., QUARTERS:] - torch.tensor(CENTRE, device=summary.device)
        angles.append(torch.atan2(action[..., 1], action[..., 0]))
    lead = angles[0] - angles[1]
    return torch.where(lead == 0, 0.5, lead.remainder(2 * pi) / (2 * pi))


def prefer_under_limit(first: Tensor, second: Tensor, temperature: float, limit: float) -> Tensor:
    """Prefers the larger return of the first three quarters, if the last quarter earns at most `limit`.

    If one trajectory breaks the limit, the other is preferred; if both do, the one that breaks it by less.
    """
    excess, second_excess = ((summary[..., 3] - limit).clamp(min=0) for summary in (first, second))
    early = choice_probability(first[..., :3].sum(-1), second[..., :3].sum(-1), temperature)
    return torch.where(excess == second_excess, early, choice_probability(second_excess, excess, temperature))


PREFERENCES: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "transitive": prefer_return,
    "intransitive": prefer_on_circle,
    "non_markovian": prefer_under_limit,
}


@dataclass
class TrajectoryPreference:
    """A task of `Control` in which trajectories of `horizon` steps are compared.

    Observations (B, 1, O + 1) end with the time, from -1 to 1. `Turn.reward` is the task's own reward, for evaluation
    only; solvers that learn from preferences do not use it.

    Raises ValueError for what `Control` refuses, and for an unknown preference.
    """

    name: str = "Pendulum-v1"
    horizon: int | None = None  # H: steps of every trajectory; null: the task's own limit
    preference: str = "transitive"  # or intransitive, non_markovian
    temperature: float = 0.0  # of comparisons, in units of return; 0: deterministic
    flips: float = 0.0  # share of comparisons that are reversed
    limit: float = -100.0  # upper limit on the return of the last quarter, if non_markovian
    device: str = "cpu"

    players: int = field(init=False, default=1)
    actions: int = field(init=False)  # D: number of action components
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if self.preference not in PREFERENCES:
            raise ValueError(f"game.preference must be one of {', '.join(PREFERENCES)}, not {self.preference!r}")
        check_fields("game", self, "temperature", least=0)
        check_fields("game", self, "flips", least=0, below=0.5)
        check_fields("game", self, "limit")
        self.task = Control(self.name, self.horizon)
        self.horizon = self.task.horizon
        check_fields("game", self, "horizon", least=QUARTERS, whole=True)
        self.actions, self.observation_shape = self.task.actions, (self.task.observation_shape[0] + 1,)
        self.spaces = self.task.spaces._replace(observation_shape=self.observation_shape)
        self.reset(torch.zeros(1, dtype=torch.int64))

    def summary(self, reward: Tensor, action: Tensor) -> Tensor:
        """Returns the features that raters see, (N, 6), of rewards (H, N) and actions (H, N, D).

        These are the return of each quarter, and the mean action of each half, scaled to [-1, 1].
        """
        low, high = self.task.low.to(action.device), self.task.high.to(action.device)
        pushes = (2 * (action.clamp(low, high) - low) / (high - low) - 1).mean(-1)
        lengths = parts(torch.ones(len(pushes), 1, device=action.device), HALVES)
        return torch.cat([parts(reward, QUARTERS), parts(pushes, HALVES) / lengths], dim=-1)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns how often trajectories with summaries `first` (..., 6) are preferred to `second` (..., 6)."""
        chance = PREFERENCES[self.preference](first, second, self.temperature, self.limit)
        return self.flips + (1 - 2 * self.flips) * chance

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds."""
        self.seeds, self.trajectory, self.clock = seeds.cpu().clone(), 0, 0
        return self._opening_turn(self._open())

    def state(self) -> dict[str, Tensor]:
        """Returns the seeds, the number of the trajectory, the time in it, and the state of the task."""
        state = {"seed": self.seeds.clone(), "time": torch.tensor([self.trajectory, self.clock])}
        state |= {"resting": self.resting.clone(), "last_observation": self.last_observation.clone()}
        return state | {f"control/{name}": value for name, value in self.task.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        names = ("seed", "resting", "last_observation")
        self.seeds, self.resting, self.last_observation = (state[name].clone() for name in names)
        self.trajectory, self.clock = state["time"].tolist()
        turn = self.task.restore({name[8:]: value for name, value in state.items() if name.startswith("control/")})
        return self._opening_turn(turn)

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, 1, D) float32.

        Raises ValueError, and plays nothing, for a wrong shape or values that are not finite.
        """
        turn = self.task.step(actions.cpu())
        reward = turn.reward.masked_fill(self.resting[:, None], 0.0)
        assert turn.final is not None
        self.last_observation = torch.where(self.resting[:, None, None], self.last_observation, turn.final)
        self.resting |= turn.done
        self.clock += 1
        done = self.clock == self.horizon
        if done:
            self.trajectory, self.clock = self.trajectory + 1, 0
            turn = self._open()
        else:
            turn = turn._replace(observation=self._observe(turn))
        return self._turn(turn, reward, torch.full((len(self.seeds),), done))

    def _open(self) -> Turn:
        """Starts the next trajectory of every copy."""
        turn = self.task.reset(mix_bits(self.seeds + GOLDEN * torch.full_like(self.seeds, self.trajectory + 1)))
        self.resting, self.last_observation = torch.zeros(len(self.seeds), dtype=torch.bool), turn.observation
        return turn

    def _opening_turn(self, turn: Turn) -> Turn:
        """Returns the turn after a reset: no rewards, nothing done."""
        false = torch.zeros(len(self.seeds), dtype=torch.bool)
        return self._turn(turn._replace(observation=self._observe(turn)), torch.zeros_like(turn.reward), false)

    def _observe(self, turn: Turn) -> Tensor:
        """Returns the observations of the task's turn; those of resting copies are their last ones."""
        return torch.where(self.resting[:, None, None], self.last_observation, turn.observation)

    def _turn(self, turn: Turn, reward: Tensor, done: Tensor) -> Turn:
        """Returns a turn of the task with the time added to its observations."""
        assert self.horizon is not None
        time = torch.full((*turn.observation.shape[:-1], 1), 2 * self.clock / self.horizon - 1)
        observation, false = torch.cat([turn.observation, time], dim=-1), torch.zeros_like(done)
        result = turn._replace(observation=observation, reward=reward, done=done, truncated=false, final=None)
        return result if self.device == "cpu" else result.to(self.device)
