"""Preferences between whole trajectories of a continuous-control task, without rewards.

The four settings of SPO (Swamy et al. 2024, arXiv:2401.04056, section 4): by return, noisy, intransitive, and
non-Markovian. It departs from the paper in its tasks, and in that policies observe the time, which they need to act
differently early and late. A task that ends before the horizon stands still until then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi

import torch
from torch import Tensor

from games.control.gymnasium import Control
from marl_engine.capabilities import Spaces
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits
from marl_engine.types import Turn

QUARTERS, HALVES = 4, 2
CENTRE = (0.3, 0.3)  # away from the trajectories of an untrained policy, which hardly moves


def parts(numbers: Tensor, count: int) -> Tensor:
    """Returns sums of numbers (H, N) over `count` consecutive segments of nearly equal length, (N, count)."""
    bounds = [len(numbers) * part // count for part in range(count + 1)]
    return torch.stack([numbers[start:end].sum(0) for start, end in pairwise(bounds)], dim=-1)


def greater(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Returns how often the first of two scores wins: sigma(difference / temperature).

    At temperature 0: 1, 1/2 or 0.
    """
    if temperature == 0:
        return 0.5 + 0.5 * (one - other).sign()
    return ((one - other) / temperature).sigmoid()


def by_return(one: Tensor, other: Tensor, temperature: float, limit: float) -> Tensor:
    """The larger return is preferred: transitive preferences."""
    return greater(one[..., :QUARTERS].sum(-1), other[..., :QUARTERS].sum(-1), temperature)


def by_raters(one: Tensor, other: Tensor, temperature: float, limit: float) -> Tensor:
    """Raters stand around a circle; a rater prefers the trajectory that it reaches first walking round the circle.

    The position of a trajectory is the angle of its mean actions, early and late, about `CENTRE`. With angles a and a'
    the first is preferred by a share of ((a - a') mod 2 pi) / 2 pi of the raters. A is preferred three to one to B, a
    quarter of the circle further on; likewise B to C, C to D, and D to A. Every trajectory is beaten by another one;
    the uniform distribution on the circle is the minimax winner.
    """
    action, other_action = ((each[..., QUARTERS:] - torch.tensor(CENTRE, device=each.device)) for each in (one, other))
    ahead = torch.atan2(action[..., 1], action[..., 0]) - torch.atan2(other_action[..., 1], other_action[..., 0])
    return torch.where(ahead == 0, 0.5, ahead.remainder(2 * pi) / (2 * pi))


def by_constraint(one: Tensor, other: Tensor, temperature: float, limit: float) -> Tensor:
    """Prefers the larger return of the first three quarters, if the last quarter earns at most `limit`.

    If one trajectory breaks the limit, the other is preferred; if both do, the one that breaks it by less.
    """
    over, other_over = ((each[..., 3] - limit).clamp(min=0) for each in (one, other))
    early = greater(one[..., :3].sum(-1), other[..., :3].sum(-1), temperature)
    return torch.where(over == other_over, early, greater(other_over, over, temperature))


PREFERENCES: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "transitive": by_return,
    "intransitive": by_raters,
    "non_markovian": by_constraint,
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

    def compare(self, one: Tensor, other: Tensor) -> Tensor:
        """Returns how often trajectories with summaries `one` (..., 6) are preferred to `other` (..., 6)."""
        chance = PREFERENCES[self.preference](one, other, self.temperature, self.limit)
        return self.flips + (1 - 2 * self.flips) * chance

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds."""
        self.seeds, self.opened, self.clock = seeds.cpu().clone(), 0, 0
        return self._opening_turn(self._open())

    def state(self) -> dict[str, Tensor]:
        """Returns the seeds, the number of trajectories, the time in the current one, and the state of the task."""
        state = {"seed": self.seeds.clone(), "time": torch.tensor([self.opened, self.clock])}
        state |= {"resting": self.resting.clone(), "held": self.held.clone()}
        return state | {f"control/{name}": each for name, each in self.task.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Restores a saved state."""
        self.seeds, self.resting, self.held = (state[name].clone() for name in ("seed", "resting", "held"))
        self.opened, self.clock = state["time"].tolist()
        turn = self.task.restore({name[8:]: each for name, each in state.items() if name.startswith("control/")})
        return self._opening_turn(turn)

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, 1, D) float32.

        Raises ValueError, and plays nothing, for a wrong shape or values that are not finite.
        """
        turn = self.task.step(actions.cpu())
        reward = turn.reward.masked_fill(self.resting[:, None], 0.0)
        assert turn.final is not None
        self.held = torch.where(self.resting[:, None, None], self.held, turn.final)
        self.resting |= turn.done
        self.clock += 1
        done = self.clock == self.horizon
        if done:
            self.opened, self.clock = self.opened + 1, 0
            turn = self._open()
        else:
            turn = turn._replace(observation=torch.where(self.resting[:, None, None], self.held, turn.observation))
        return self._turn(turn, reward, torch.full((len(self.seeds),), done))

    def _open(self) -> Turn:
        """Starts the next trajectory of every copy."""
        turn = self.task.reset(mix_bits(self.seeds + GOLDEN * torch.full_like(self.seeds, self.opened + 1)))
        self.resting, self.held = torch.zeros(len(self.seeds), dtype=torch.bool), turn.observation
        return turn

    def _opening_turn(self, turn: Turn) -> Turn:
        """Returns the turn after a reset: no rewards, nothing done."""
        observation = torch.where(self.resting[:, None, None], self.held, turn.observation)
        never = torch.zeros(len(self.seeds), dtype=torch.bool)
        return self._turn(turn._replace(observation=observation), torch.zeros_like(turn.reward), never)

    def _turn(self, turn: Turn, reward: Tensor, done: Tensor) -> Turn:
        assert self.horizon is not None
        time = torch.full((*turn.observation.shape[:-1], 1), 2 * self.clock / self.horizon - 1)
        observation, never = torch.cat([turn.observation, time], dim=-1), torch.zeros_like(done)
        result = turn._replace(observation=observation, reward=reward, done=done, truncated=never, final=None)
        return result if self.device == "cpu" else result.to(self.device)
