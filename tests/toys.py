"""Games small enough to know everything about."""

from dataclasses import dataclass

import torch

from marl_engine.types import Turn


@dataclass
class Matrix:
    """A matrix game played once in every turn: seat 0 earns payoff[a0, a1], seat 1 the same (a team) or its negative.

    With `patience` above 1 a game lasts that many turns and is then truncated, not over.
    """

    payoff: torch.Tensor
    team: bool = True
    patience: int = 1
    players: int = 2
    symmetric: bool = False
    observation_shape: tuple[int, ...] = (1,)

    def __post_init__(self):
        self.actions = self.payoff.shape[0]

    def reset(self, seeds):
        return self.restore({"clock": torch.zeros(len(seeds), dtype=torch.int64)})

    def state(self):
        return {"clock": self.clock.clone()}

    def restore(self, state):
        self.clock = state["clock"].clone()
        return self._turn(torch.zeros(len(self.clock), 2), torch.zeros(len(self.clock), dtype=torch.bool))

    def step(self, actions):
        earned = self.payoff[actions[:, 0], actions[:, 1]]
        self.clock += 1
        done = self.clock == self.patience
        self.clock[done] = 0
        return self._turn(torch.stack([earned, earned if self.team else -earned], dim=-1), done)

    def _turn(self, reward, done):
        games = len(self.clock)
        observation = torch.ones(games, 2, 1)
        return Turn(
            observation=observation,
            legal=torch.ones(games, 2, self.actions, dtype=torch.bool),
            acting=torch.ones(games, 2, dtype=torch.bool),
            reward=reward,
            shaping=torch.zeros(games, 2),
            done=done,
            truncated=done if self.patience > 1 else torch.zeros_like(done),
            final=observation if self.patience > 1 else None,
        )
