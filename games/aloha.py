"""Aloha: stations on a grid send the messages that arrive, and must not send at the same time as a neighbour.

The sparse coordination problem of Wang et al. 2022 (arXiv:2106.02195), as in Chen and Zhang 2023 (arXiv:2306.01920).
Departure: in the code of Chen and Zhang the last station of the first row and the first station of the second row are
neighbours; here they are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from games.team_turn import seat_uniforms, team_turn
from marl_engine.numerics.checks import check_fields
from marl_engine.types import Turn

SILENT, SEND = 0, 1


@dataclass
class Aloha:
    """P = rows * columns seats, row by row. Each observes its own backlog, one-hot: (B, P, capacity + 1) float32.

    A seat with a backlog that sends gets rid of a message if none of its neighbours sends, and otherwise collides.
    Whether seats without a backlog send makes no difference. Then a message arrives at each seat with probability
    `arrival`; those beyond `capacity` are lost. All seats earn the same: `success` for each message that is sent, minus
    `collision` for each seat that collides. Raises ValueError for numbers out of range.
    """

    rows: int = 2
    columns: int = 5
    horizon: int = 20  # turns of a game
    arrival: float = 0.6
    capacity: int = 5
    success: float = 0.1
    collision: float = 10.0
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False, default=2)  # SILENT, SEND
    observation_shape: tuple[int, ...] = field(init=False)
    symmetric: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        check_fields("game", self, "rows", "columns", "horizon", "capacity", least=1, whole=True)
        check_fields("game", self, "arrival", least=0, most=1)
        check_fields("game", self, "success", "collision", least=0)
        self.players = self.rows * self.columns
        self.observation_shape = (self.capacity + 1,)
        self.neighbours = grid_neighbours(self.rows, self.columns).to(self.device)

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds (B,); every seat has one message."""
        backlog = torch.ones(len(seeds), self.players, dtype=torch.int64)
        return self.restore({"backlog": backlog, "clock": torch.zeros_like(seeds), "seeds": seeds})

    def state(self) -> dict[str, Tensor]:
        """Returns for each copy the backlogs (B, P), the number of turns so far (B,) and the seed (B,)."""
        return {name: vars(self)[name].clone() for name in ("backlog", "clock", "seeds")}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.backlog, self.clock, self.seeds = (
            state[name].to(self.device).clone() for name in ("backlog", "clock", "seeds")
        )
        return team_turn(
            self._show(self.backlog), torch.zeros(len(self.seeds), device=self.device), self.clock < 0, None
        )

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64. Raises ValueError for an illegal action; then no copy is changed."""
        if ((actions < 0) | (actions > 1)).any():
            raise ValueError("actions must be 0, to be silent, or 1, to send")
        sends = (actions.to(self.device) == SEND) & (self.backlog > 0)
        disturbed = sends.float() @ self.neighbours > 0
        arrived = sends & ~disturbed
        earned = self.success * arrived.sum(1) - self.collision * (sends & disturbed).sum(1)
        arrivals = (seat_uniforms(self.seeds, self.clock, self.players) < self.arrival).long()
        backlog = (self.backlog - arrived.long() + arrivals).clamp(max=self.capacity)
        self.clock = self.clock + 1
        done = self.clock % self.horizon == 0
        self.backlog = torch.where(done[:, None], 1, backlog)
        return team_turn(self._show(self.backlog), earned, done, self._show(backlog) if done.any() else None)

    def _show(self, backlog: Tensor) -> Tensor:
        """Returns observations of backlogs (B, P)."""
        return (backlog[..., None] == torch.arange(self.capacity + 1, device=self.device)).float()


def grid_neighbours(rows: int, columns: int) -> Tensor:
    """Returns which of the P cells of a grid are side by side, (P, P) float32 of zeros and ones."""
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return ((cells[:, None] - cells).abs().sum(-1) == 1).float()
