"""Continuous control: one player, a task of Gymnasium (Towers et al. 2024, arXiv:2407.17032) whose actions are a box.

It departs from Gymnasium in that actions beyond the box are moved to its edge, and in seeds: each time that a copy
opens it has another one, which is a function of the copy's own and of how often that has opened. A task ends by its own
`terminated` and `truncated`; the clock that Gymnasium wraps around it is replaced by `horizon`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from games.control.pendulum import Pendulums
from marl_engine.capabilities import ActionSpace, Spaces
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits
from marl_engine.types import Turn

COMPILED: dict[str, Callable[[], Any]] = {"Pendulum-v1": Pendulums}
KNOWN = ("Pendulum-v1", "MountainCarContinuous-v0")
MUJOCO = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", "Swimmer-v5", "InvertedPendulum-v5")
CHOICES = f"{', '.join(KNOWN)}, or with pip install 'gymnasium[mujoco]' {', '.join(MUJOCO)}"


class Copies(Protocol):
    """B copies of a task of O features and D numbers in an action, stepped together; nothing restarts by itself."""

    limit: int | None  # steps after which the task's clock stops; None: there is none
    features: int  # O
    low: np.ndarray  # (D,) float32
    high: np.ndarray  # (D,) float32

    def clear(self, copies: int) -> None:
        """Makes room for so many copies, none of them open."""

    def open(self, which: Sequence[int], seeds: Sequence[int]) -> None:
        """Starts some copies as Gymnasium does with these seeds."""

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Actions (B, D) float32 -> rewards (B,), which copies are over by the rules and which the task cut short."""
        ...

    def seen(self) -> np.ndarray:
        """Observations (B, O) float32, a new array."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes back to a state."""


def made(name: str) -> Any:
    """One task of Gymnasium without its clock. Raises ValueError for one that is not there, or has other actions."""
    try:
        import gymnasium
    except ImportError as error:
        raise ValueError(f"game.name={name} needs Gymnasium: pip install 'marl_engine[control]'") from error
    try:
        task = gymnasium.make(name, max_episode_steps=-1, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"game.name={name} needs more than Gymnasium: {error}") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"there is no task {name!r}; choose from {CHOICES}") from error
    boxes = (task.action_space, task.observation_space)
    if not all(isinstance(space, gymnasium.spaces.Box) for space in boxes) or len(boxes[0].shape or ()) != 1:
        raise ValueError(f"actions and observations of {name!r} are no vectors of numbers; choose from {CHOICES}")
    return task


class Tasks:
    """B tasks of Gymnasium, one by one; see `Copies`. A state is how each was opened and what was done there since."""

    def __init__(self, name: str):
        task = made(name)
        self.name, self.tasks = name, [task]
        self.limit = registered_limit(task)
        self.features = int(np.prod(task.observation_space.shape))
        self.low, self.high = task.action_space.low.astype(np.float32), task.action_space.high.astype(np.float32)
        self.clear(0)

    def clear(self, copies: int) -> None:
        self.tasks += [made(self.name) for _ in range(len(self.tasks), copies)]
        self.now = np.zeros((copies, self.features), np.float32)
        self.seeds = [0] * copies
        self.done: list[list[np.ndarray]] = [[] for _ in range(copies)]

    def open(self, which: Sequence[int], seeds: Sequence[int]) -> None:
        for copy, seed in zip(which, seeds, strict=True):
            self.seeds[copy], self.done[copy] = seed, []
            self.now[copy] = self.tasks[copy].reset(seed=seed)[0].ravel()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        results = [self._step(copy, action) for copy, action in enumerate(actions)]
        rewards, over, stopped = zip(*results, strict=True)
        return np.array(rewards, float), np.array(over, bool), np.array(stopped, bool)

    def _step(self, copy: int, action: np.ndarray) -> tuple[float, bool, bool]:
        self.done[copy].append(action.copy())
        observation, reward, over, stopped, _ = self.tasks[copy].step(action)
        self.now[copy] = observation.ravel()
        return reward, over, stopped

    def seen(self) -> np.ndarray:
        return self.now.copy()

    def state(self) -> dict[str, Tensor]:
        counts = [len(actions) for actions in self.done]
        past = np.zeros((len(counts), max(counts, default=0), len(self.low)), np.float32)
        for copy, actions in enumerate(self.done):
            past[copy, : len(actions)] = np.reshape(actions, (-1, len(self.low)))
        return {"seeds": torch.tensor(self.seeds), "counts": torch.tensor(counts), "past": torch.from_numpy(past)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Plays again what was played: tasks that are functions of their seed and actions come to the same place."""
        self.clear(len(state["seeds"]))
        self.open(range(len(self.seeds)), state["seeds"].tolist())
        for copy, count in enumerate(state["counts"].tolist()):
            for action in state["past"][copy, :count].numpy():
                self._step(copy, action)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and other processes make tasks of their own: simulators cannot be copied."""
        return {"name": self.name, "state": self.state()}

    def __setstate__(self, saved: Mapping[str, Any]) -> None:
        self.__init__(saved["name"])  # type: ignore[misc]
        self.restore(saved["state"])


def registered_limit(task: Any) -> int | None:
    """The steps after which Gymnasium's own clock stops a task."""
    import gymnasium

    return gymnasium.spec(task.spec.id).max_episode_steps


def seeds_of(seeds: Tensor, openings: Tensor) -> list[int]:
    """What Gymnasium is seeded with when copies with seeds (N,) open for the times numbered (N,) from 0."""
    return (mix_bits(seeds + GOLDEN * (openings + 1)) & (2**63 - 1)).tolist()


@dataclass
class Control:
    """Observations (B, 1, O) float32; actions (B, 1, D) float32 in the box of `spaces.action`, in the task's own units.

    Raises ValueError for a task that is not there or whose actions are no box, and for a horizon below 1.
    """

    name: str = "Pendulum-v1"
    horizon: int | None = None  # steps after which the clock is stopped; null: the task's own
    device: str = "cpu"

    players: int = field(init=False, default=1)
    actions: int = field(init=False)  # D: how many numbers an action has
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.copies: Copies = COMPILED.get(self.name, lambda: Tasks(self.name))()
        self.horizon = self.copies.limit if self.horizon is None else self.horizon
        check_fields("game", self, "horizon", least=1, whole=True)
        self.actions, self.observation_shape = len(self.copies.low), (self.copies.features,)
        self.low, self.high = torch.from_numpy(self.copies.low), torch.from_numpy(self.copies.high)
        self.spaces = Spaces(self.observation_shape, ActionSpace(self.actions, self.low, self.high), torch.float32)
        self.reset(torch.zeros(1, dtype=torch.int64))

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds."""
        self.seeds = seeds.cpu().clone()
        self.openings, self.clock = torch.zeros_like(self.seeds), torch.zeros_like(self.seeds)
        self.copies.clear(len(seeds))
        self.copies.open(range(len(seeds)), seeds_of(self.seeds, self.openings))
        return self._opened()

    def state(self) -> dict[str, Tensor]:
        """Of each copy its seed, how often it opened before, the steps since, and what the task's copies need."""
        own = {"seed": self.seeds.clone(), "openings": self.openings.clone(), "clock": self.clock.clone()}
        return own | {f"task/{name}": each for name, each in self.copies.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Goes back to a saved state."""
        self.seeds, self.openings, self.clock = (state[name].clone() for name in ("seed", "openings", "clock"))
        self.copies.restore({name[5:]: each for name, each in state.items() if name.startswith("task/")})
        return self._opened()

    def step(self, actions: Tensor) -> Turn:
        """Actions (B, 1, D) float32. Raises ValueError, and plays nothing, for another shape or what is no number."""
        expected = (len(self.seeds), 1, self.actions)
        if actions.shape != expected or not actions.isfinite().all():
            raise ValueError(f"actions must be {expected} finite numbers, not {tuple(actions.shape)}")
        bounded = actions[:, 0].cpu().float().clamp(self.low, self.high)
        reward, *ends = self.copies.step(bounded.numpy())
        over, stopped = (torch.from_numpy(each) for each in ends)
        self.clock += 1
        done = over | stopped | (self.clock == self.horizon)
        truncated = done & ~over
        final = torch.from_numpy(self.copies.seen())
        if which := done.nonzero()[:, 0].tolist():
            self.openings[done] += 1
            self.clock[done] = 0
            self.copies.open(which, seeds_of(self.seeds[done], self.openings[done]))
        seen = torch.from_numpy(self.copies.seen()) if which else final
        return self._turn(seen, torch.from_numpy(reward).float(), done, truncated, final)

    def _opened(self) -> Turn:
        """The turn of copies in which nothing has just happened."""
        seen, none = torch.from_numpy(self.copies.seen()), torch.zeros(len(self.seeds), dtype=torch.bool)
        return self._turn(seen, torch.zeros(len(seen)), none, none, seen)

    def _turn(self, seen: Tensor, reward: Tensor, done: Tensor, truncated: Tensor, final: Tensor) -> Turn:
        always = torch.ones(len(seen), 1, self.actions, dtype=torch.bool)
        shaping = torch.zeros(len(seen), 1)
        turn = Turn(seen[:, None], always, always[..., 0], reward[:, None], shaping, done, truncated, final[:, None])
        return turn if self.device == "cpu" else turn.to(self.device)
