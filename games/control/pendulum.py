"""The pendulum of Gymnasium's Pendulum-v1, all copies in one compiled loop.

A rod is hung up by one end; a torque of at most 2 swings it up and holds it there. A test holds it to Gymnasium's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_loop

GRAVITY, MASS, LENGTH, PERIOD = 10.0, 1.0, 1.0, 0.05
FASTEST, STRONGEST = 8.0, 2.0  # speed and torque
START = np.array([pi, 1.0])  # the largest angle and speed that a copy opens with


@compile_loop
def _step(states, torques, rewards):
    """Moves states (B, 2), angle from upright and speed, and writes rewards (B,):

    -(angle² + speed² / 10 + torque² / 1000) before the move.
    """
    fastest, strongest = np.float32(FASTEST), np.float32(STRONGEST)
    for copy in range(len(states)):
        angle, speed = states[copy, 0], states[copy, 1]
        torque = min(max(torques[copy], -strongest), strongest)
        off = (angle + pi) % (2 * pi) - pi
        rewards[copy] = -(off * off + 0.1 * speed * speed + np.float32(0.001) * (torque * torque))
        push = np.float32(3 / (MASS * LENGTH**2)) * torque
        speed += (3 * GRAVITY / (2 * LENGTH) * np.sin(angle) + push) * PERIOD
        speed = min(max(speed, -fastest), fastest)
        states[copy, 0], states[copy, 1] = angle + speed * PERIOD, speed


@compile_loop
def _observe(states, seen):
    """The sides of the angle and the speed, (B, 3)."""
    for copy in range(len(states)):
        seen[copy, 0], seen[copy, 1] = np.cos(states[copy, 0]), np.sin(states[copy, 0])
        seen[copy, 2] = states[copy, 1]


@dataclass
class Pendulums:
    """B pendulums; see `Copies`."""

    limit: int = 200  # steps
    features: int = 3
    low: np.ndarray = field(default_factory=lambda: np.array([-STRONGEST], np.float32))
    high: np.ndarray = field(default_factory=lambda: np.array([STRONGEST], np.float32))
    states: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def clear(self, copies: int) -> None:
        """Makes room for so many copies."""
        self.states = np.zeros((copies, 2))

    def open(self, which: Sequence[int], seeds: Sequence[int]) -> None:
        """Starts some copies where Gymnasium starts with these seeds."""
        for copy, seed in zip(which, seeds, strict=True):
            self.states[copy] = np.random.default_rng(seed).uniform(-START, START)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Torques (B, 1) float32 -> rewards (B,), and which copies are over or cut short (B,): none ever is."""
        rewards, never = np.empty(len(self.states)), np.zeros(len(self.states), bool)
        _step(self.states, actions[:, 0], rewards)
        return rewards, never, never

    def seen(self) -> np.ndarray:
        """Observations (B, 3) float32."""
        seen = np.empty((len(self.states), 3), np.float32)
        _observe(self.states, seen)
        return seen

    def state(self) -> dict[str, Tensor]:
        """Angles and speeds."""
        return {"states": torch.from_numpy(self.states.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes back to them."""
        self.states = state["states"].numpy().copy()
