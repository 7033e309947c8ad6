"""Continuous control: single-player Gymnasium tasks (Towers et al. 2024, arXiv:2407.17032) with box actions.

It departs from Gymnasium in three ways. Actions outside the box are clipped. Each episode of a copy has its own seed, a
function of the copy's seed and the number of the episode. Gymnasium's time limit wrapper is replaced by `horizon`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from games.control.pendulum import Pendulums
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Turn

COMPILED_TASKS: dict[str, Callable[[], Any]] = {"Pendulum-v1": Pendulums}
CLASSIC = ("Pendulum-v1", "MountainCarContinuous-v0")
MUJOCO = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", "Swimmer-v5", "InvertedPendulum-v5")
MUJOCO_PRESET = "control/mujoco"
CHOICES = f"{', '.join(CLASSIC)}, or with pip install 'gymnasium[mujoco]' {', '.join(MUJOCO)}"


class TaskCopies(Protocol):
    """B copies of a task with O features and D action components, stepped together.

    They do not restart automatically.
    """

    limit: int | None  # time limit in steps; None: unlimited
    features: int  # O
    low: np.ndarray  # (D,) float32
    high: np.ndarray  # (D,) float32

    def clear(self, copies: int) -> None:
        """Allocates memory for a number of copies; none of them is started."""

    def open(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        """Starts copies, given by their numbers, as Gymnasium does with the same seeds."""

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maps actions (B, D) float32 to rewards (B,), and which copies are terminated and truncated by the task."""
        ...

    def observe(self) -> np.ndarray:
        """Returns observations (B, O) float32, a new array."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Returns everything that `restore` needs."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores a saved state."""


@cache
def pass_on_warnings() -> None:
    """Makes MuJoCo's warnings those of Python; by default they are added to MUJOCO_LOG.TXT in the current folder.

    Warnings that the form of Gymnasium's models is deprecated are left out.
    """
    try:
        from mujoco import set_mju_user_warning
    except ImportError:
        return
    set_mju_user_warning(lambda message: None if "deprecated" in message else warnings.warn(message, stacklevel=2))


def make_task(name: str) -> Any:
    """Creates a Gymnasium task without its time limit.

    Raises ValueError for unknown tasks and tasks with other actions.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise ValueError(f"game.name={name} needs Gymnasium: pip install 'marl_engine[control]'") from error
    if name in MUJOCO:
        pass_on_warnings()
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
    """B Gymnasium tasks, stepped one by one; see `TaskCopies`.

    The state of a task is its seed and all actions since it was started.
    """

    def __init__(self, name: str):
        task = make_task(name)
        self.name, self.tasks = name, [task]
        self.limit = default_limit(task)
        self.features = int(np.prod(task.observation_space.shape))
        self.low, self.high = task.action_space.low.astype(np.float32), task.action_space.high.astype(np.float32)
        self.clear(0)

    def clear(self, copies: int) -> None:
        self.tasks += [make_task(self.name) for _ in range(len(self.tasks), copies)]
        self.observations = np.zeros((copies, self.features), np.float32)
        self.seeds = [0] * copies
        self.actions: list[list[np.ndarray]] = [[] for _ in range(copies)]

    def open(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        for copy, seed in zip(copies, seeds, strict=True):
            self.seeds[copy], self.actions[copy] = seed, []
            self.observations[copy] = self.tasks[copy].reset(seed=seed)[0].ravel()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        results = [self._step(copy, action) for copy, action in enumerate(actions)]
        rewards, over, cut = zip(*results, strict=True)
        return np.array(rewards, float), np.array(over, bool), np.array(cut, bool)

    def _step(self, copy: int, action: np.ndarray) -> tuple[float, bool, bool]:
        self.actions[copy].append(action.copy())
        observation, reward, over, cut, _ = self.tasks[copy].step(action)
        self.observations[copy] = observation.ravel()
        return reward, over, cut

    def observe(self) -> np.ndarray:
        return self.observations.copy()

    def state(self) -> dict[str, Tensor]:
        counts = [len(actions) for actions in self.actions]
        history = np.zeros((len(counts), max(counts, default=0), len(self.low)), np.float32)
        for copy, actions in enumerate(self.actions):
            history[copy, : len(actions)] = np.reshape(actions, (-1, len(self.low)))
        state = {"seeds": torch.tensor(self.seeds), "counts": torch.tensor(counts)}
        return {**state, "actions": torch.from_numpy(history)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Replays all actions. This restores tasks that are functions of their seed and actions."""
        self.clear(len(state["seeds"]))
        self.open(range(len(self.seeds)), state["seeds"].tolist())
        for copy, count in enumerate(state["counts"].tolist()):
            for action in state["actions"][copy, :count].numpy():
                self._step(copy, action)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and other processes create their own tasks, since simulators cannot be copied."""
        return {"name": self.name, "state": self.state()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["name"])  # type: ignore[misc]
        self.restore(state["state"])


def default_limit(task: Any) -> int | None:
    """Returns the time limit with which Gymnasium registered a task."""
    import gymnasium

    return gymnasium.spec(task.spec.id).max_episode_steps


def seeds_of(seeds: Tensor, openings: Tensor) -> list[int]:
    """Returns Gymnasium seeds for episodes `openings` (N,), counted from 0, of copies with seeds (N,)."""
    return (mix_bits(seeds + GOLDEN * (openings + 1)) & (2**63 - 1)).tolist()


@dataclass
class Control:
    """B copies of a Gymnasium task.

    Observations are (B, 1, O) float32, actions (B, 1, D) float32 in the box `spaces.action`, in the task's units.

    Raises ValueError for an unknown task, a task whose actions are not a box, and a horizon below 1.
    """

    name: str = "Pendulum-v1"
    horizon: int | None = None  # time limit in steps; null: the task's own
    device: str = "cpu"

    players: int = field(init=False, default=1)
    actions: int = field(init=False)  # D: number of action components
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.copies: TaskCopies = COMPILED_TASKS.get(self.name, lambda: Tasks(self.name))()
        self.horizon = self.copies.limit if self.horizon is None else self.horizon
        check_fields("game", self, "horizon", least=1, whole=True)
        self.actions, self.observation_shape = len(self.copies.low), (self.copies.features,)
        self.low, self.high = torch.from_numpy(self.copies.low), torch.from_numpy(self.copies.high)
        self.spaces = Spaces(self.observation_shape, ActionSpace(self.actions, self.low, self.high), torch.float32)
        self.reset(torch.zeros(1, dtype=torch.int64))

    @staticmethod
    def better_preset(values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Returns the preset of MuJoCo's tasks, and why, for one of them."""
        name = values.get("name", Control.name)
        return (MUJOCO_PRESET, f"{name} is simulated by MuJoCo") if name in MUJOCO else None

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds."""
        self.seeds = seeds.cpu().clone()
        self.openings, self.clock = torch.zeros_like(self.seeds), torch.zeros_like(self.seeds)
        self.copies.clear(len(seeds))
        self.copies.open(range(len(seeds)), seeds_of(self.seeds, self.openings))
        return self._opening_turn()

    def state(self) -> dict[str, Tensor]:
        """Returns each copy's seed, number of episodes and steps, and the state of the task."""
        state = {"seed": self.seeds.clone(), "openings": self.openings.clone(), "clock": self.clock.clone()}
        return state | {f"task/{name}": each for name, each in self.copies.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.seeds, self.openings, self.clock = (state[name].clone() for name in ("seed", "openings", "clock"))
        self.copies.restore({name[5:]: each for name, each in state.items() if name.startswith("task/")})
        return self._opening_turn()

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, 1, D) float32.

        Raises ValueError, and plays nothing, for a wrong shape or values that are not finite.
        """
        shape = (len(self.seeds), 1, self.actions)
        if actions.shape != shape or not actions.isfinite().all():
            raise ValueError(f"actions must be {shape} finite numbers, not {tuple(actions.shape)}")
        rows = actions[:, 0].cpu().float().clamp(self.low, self.high)
        reward, *ends = self.copies.step(rows.numpy())
        over, cut = (torch.from_numpy(mask) for mask in ends)
        self.clock += 1
        done = over | cut | (self.clock == self.horizon)
        truncated = done & ~over
        final = torch.from_numpy(self.copies.observe())
        if copies := done.nonzero()[:, 0].tolist():
            self.openings[done] += 1
            self.clock[done] = 0
            self.copies.open(copies, seeds_of(self.seeds[done], self.openings[done]))
        observation = torch.from_numpy(self.copies.observe()) if copies else final
        return self._turn(observation, torch.from_numpy(reward).float(), done, truncated, final)

    def _opening_turn(self) -> Turn:
        """Returns the turn after a reset: no rewards, nothing done."""
        observation, false = torch.from_numpy(self.copies.observe()), torch.zeros(len(self.seeds), dtype=torch.bool)
        return self._turn(observation, torch.zeros(len(observation)), false, false, observation)

    def _turn(self, observation: Tensor, reward: Tensor, done: Tensor, truncated: Tensor, final: Tensor) -> Turn:
        """Returns a turn from observations (B, O), rewards (B,) and masks (B,)."""
        legal = torch.ones(len(observation), 1, self.actions, dtype=torch.bool)
        shaping = torch.zeros(len(observation), 1)
        turn = Turn(
            observation[:, None], legal, legal[..., 0], reward[:, None], shaping, done, truncated, final[:, None]
        )
        return turn if self.device == "cpu" else turn.to(self.device)
