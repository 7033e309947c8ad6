"""Gymnasium's Pendulum-v1, with all copies in one compiled loop.

The task is to swing a rod up and to balance it, with a torque of at most 2. A test compares it with Gymnasium's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_loop

GRAVITY, MASS, LENGTH, PERIOD = 10.0, 1.0, 1.0, 0.05
FASTEST, STRONGEST = 8.0, 2.0  # largest speed and torque
START = np.array([pi, 1.0])  # largest initial angle and speed


@compile_loop
def _step(states, torques, rewards):
    """Moves states (B, 2): angle from upright, and speed. Writes rewards (B,).

    The reward is -(angle² + speed² / 10 + torque² / 1000) before the move.
    """
    fastest, strongest = np.float32(FASTEST), np.float32(STRONGEST)
    for copy in range(len(states)):
        angle, speed = states[copy, 0], states[copy, 1]
        torque = min(max(torques[copy], -strongest), strongest)
        offset = (angle + pi) % (2 * pi) - pi
        rewards[copy] = -(offset * offset + 0.1 * speed * speed + np.float32(0.001) * (torque * torque))
        push = np.float32(3 / (MASS * LENGTH**2)) * torque
        speed += (3 * GRAVITY / (2 * LENGTH) * np.sin(angle) + push) * PERIOD
        speed = min(max(speed, -fastest), fastest)
        states[copy, 0], states[copy, 1] = angle + speed * PERIOD, speed


@compile_loop
def _observe(states, observation):
    """Writes observations (B, 3): cosine and sine of the angle, and the speed."""
    for copy in range(len(states)):
        observation[copy, 0], observation[copy, 1] = np.cos(states[copy, 0]), np.sin(states[copy, 0])
        observation[copy, 2] = states[copy, 1]


@dataclass
class Pendulums:
    """B pendulums; see `gymnasium.TaskCopies`."""

    limit: int = 200  # steps
    features: int = 3
    low: np.ndarray = field(default_factory=lambda: np.array([-STRONGEST], np.float32))
    high: np.ndarray = field(default_factory=lambda: np.array([STRONGEST], np.float32))
    states: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def clear(self, copies: int) -> None:
        """Allocates memory for a number of copies."""
        self.states = np.zeros((copies, 2))

    def open(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        """Starts copies, given by their numbers, as Gymnasium does with the same seeds."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.states[copy] = np.random.default_rng(seed).uniform(-START, START)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maps torques (B, 1) float32 to rewards (B,); no copy is ever terminated or truncated."""
        rewards, false = np.empty(len(self.states)), np.zeros(len(self.states), bool)
        _step(self.states, actions[:, 0], rewards)
        return rewards, false, false

    def observe(self) -> np.ndarray:
        """Returns observations (B, 3) float32."""
        observation = np.empty((len(self.states), 3), np.float32)
        _observe(self.states, observation)
        return observation

    def state(self) -> dict[str, Tensor]:
        """Returns angles and speeds."""
        return {"states": torch.from_numpy(self.states.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores angles and speeds."""
        self.states = state["states"].numpy().copy()
