"""Recall: each seat is shown a cue when a game opens, and must act on it after a delay in which it observes nothing.

The simplest task that needs memory, after the T-maze of Bakker (2001) and the memory length of bsuite (Osband et al.
2020, arXiv:1908.03568). Here each seat has a cue of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.types import Turn


@dataclass
class Recall:
    """A seat that chooses the action of its cue `delay` turns after it saw it earns 1, another one 0; games end there.

    Observations (B, P, A + 1) float32 are the cue, one-hot, in the first turn, a 1 at the end in the turn that counts,
    and else zeros. What is chosen in other turns does not matter. The level of a copy is its delay, an integer of 1 or
    more. Raises ValueError for numbers out of range.
    """

    delay: int = 10  # turns from the cue to the choice
    actions: int = 2  # A: kinds of cues, and choices
    players: int = 2  # P
    device: str = "cpu"

    symmetric = True

    def __post_init__(self) -> None:
        check_fields("game", self, "delay", "players", least=1, whole=True)
        check_fields("game", self, "actions", least=2, whole=True)
        self.observation_shape = (self.actions + 1,)

    def reset(self, seeds: Tensor, levels: Tensor | None = None) -> Turn:
        """Starts as many copies as there are seeds (B,), with delays `levels` (B,) int64."""
        zero = torch.zeros_like(seeds)
        delays = torch.full_like(seeds, self.delay) if levels is None else self._check_delays(levels)
        return self.restore({"seeds": seeds, "openings": zero, "clock": zero, "delays": delays})

    def restart(self, copies: Tensor, levels: Tensor) -> Turn:
        """Sets the delays `levels` (N,) of copies (N,) whose games have just opened; see `LevelGame`."""
        state = self.state()
        return self.restore({**state, "delays": state["delays"].index_copy(0, copies, self._check_delays(levels))})

    def state(self) -> dict[str, Tensor]:
        """Returns for each copy its seed, the number of games before, the turn of its game, and its delay."""
        return {name: vars(self)[name].clone() for name in ("seeds", "openings", "clock", "delays")}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.seeds, self.openings, self.clock, self.delays = (
            state[name].to(self.device).clone() for name in ("seeds", "openings", "clock", "delays")
        )
        return self._turn(torch.zeros(len(self.seeds), self.players, device=self.device), self.clock < 0)

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64. Raises ValueError for an illegal action; then no copy is changed."""
        if ((actions < 0) | (actions >= self.actions)).any():
            raise ValueError(f"actions must be from 0 to {self.actions - 1}")
        done = self.clock == self.delays
        reward = ((actions.to(self.device) == self.cues()) & done[:, None]).float()
        self.clock = (self.clock + 1).masked_fill(done, 0)
        self.openings = self.openings + done
        return self._turn(reward, done)

    def cues(self) -> Tensor:
        """The cues (B, P) of the games under way: functions of the seed, the number of the game and the seat."""
        seat = torch.arange(1, self.players + 1, device=self.device)
        place = self.openings[:, None] * self.players + seat
        noise = to_unit_interval(mix_bits(mix_bits(self.seeds)[:, None] + GOLDEN * place))
        return (noise * self.actions).long()

    def _check_delays(self, levels: Tensor) -> Tensor:
        """Raises ValueError for levels (N,) that are no delays."""
        if levels.dtype != torch.int64 or (levels < 1).any():
            raise ValueError(f"levels of Recall are delays, whole numbers of 1 or more, not {levels.tolist()}")
        return levels.to(self.device)

    def _turn(self, reward: Tensor, done: Tensor) -> Turn:
        shape = (len(self.seeds), self.players)
        observation = torch.zeros(*shape, self.actions + 1, device=self.device)
        observation.scatter_(-1, self.cues()[..., None], (self.clock == 0).float()[:, None, None].expand(*shape, 1))
        observation[..., -1] = (self.clock == self.delays).float()[:, None]
        always = torch.ones(*shape, self.actions, dtype=torch.bool, device=self.device)
        return Turn(
            observation=observation,
            legal=always,
            acting=always[..., 0],
            reward=reward,
            shaping=torch.zeros(shape, device=self.device),
            done=done,
            truncated=torch.zeros_like(done),
        )
