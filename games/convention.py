"""The repeated convention game: two seats choose labels, and are paid when the labels match.

All labels are alike, so two players who learned together agree on one of them by accident, and players who did not meet
in learning agree no more often than chance. A player who watches its partner in the first turn can adopt the partner's
label, and then earns at least H - 1 of H with any partner who keeps to its label. It is the smallest case of zero-shot
coordination; the one-shot game is in Hu et al. 2020 (arXiv:2003.02979, section 3). Like other repeated games it has
perfect monitoring: the labels of a turn are known in the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.types import Turn


@dataclass
class Convention:
    """Both seats earn 1 in each of `horizon` turns in which they choose the same label.

    Observations (B, P, K + 2) float32: the label that the other seat chose in the last turn, one-hot, zeros in the
    first turn; then whether the labels of the last turn matched, and whether this is the first turn. Earlier labels are
    not shown, so a player who wants to know how its partner reacts needs memory. Raises ValueError for numbers out of
    range.
    """

    actions: int = 5  # K: labels
    horizon: int = 10  # H: turns of a game
    device: str = "cpu"

    players: int = field(init=False, default=2)
    symmetric: bool = field(init=False, default=True)
    observation_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_fields("game", self, "actions", least=2, whole=True)
        check_fields("game", self, "horizon", least=1, whole=True)
        self.observation_shape = (self.actions + 2,)

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many games as there are seeds. There is no chance, so all are alike."""
        return self.restore({"clock": torch.zeros_like(seeds), "labels": torch.zeros(len(seeds), 2, dtype=torch.int64)})

    def state(self) -> dict[str, Tensor]:
        """Returns for each game the number of turns played, and the labels (B, 2) of the last one."""
        return {"clock": self.clock.clone(), "labels": self.labels.clone()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.clock, self.labels = (state[name].to(self.device).clone() for name in ("clock", "labels"))
        return self._turn(torch.zeros(len(self.clock), device=self.device), self.clock < 0)

    def step(self, actions: Tensor) -> Turn:
        """Takes labels (B, 2) int64. Raises ValueError for an unknown label; then no game is changed."""
        if ((actions < 0) | (actions >= self.actions)).any():
            raise ValueError(f"labels are numbers from 0 to {self.actions - 1}")
        self.labels = actions.to(self.device).clone()
        done = self.clock == self.horizon - 1
        self.clock = (self.clock + 1).masked_fill(done, 0)
        return self._turn(self._match().float(), done)

    def _match(self) -> Tensor:
        """Returns whether the labels of the last turn are equal, (B,) bool."""
        return self.labels[:, 0] == self.labels[:, 1]

    def _turn(self, reward: Tensor, done: Tensor) -> Turn:
        games = len(self.clock)
        observation = torch.zeros(games, 2, self.actions + 2, device=self.device)
        shown = (self.clock > 0).float()[:, None, None].expand(games, 2, 1)
        observation.scatter_(-1, self.labels.flip(1)[..., None], shown)
        observation[..., -2] = ((self.clock > 0) & self._match()).float()[:, None]
        observation[..., -1] = (self.clock == 0).float()[:, None]
        legal = torch.ones(games, 2, self.actions, dtype=torch.bool, device=self.device)
        return Turn(
            observation=observation,
            legal=legal,
            acting=legal[..., 0],
            reward=reward[:, None].repeat(1, 2),
            shaping=torch.zeros(games, 2, device=self.device),
            done=done,
            truncated=torch.zeros_like(done),
        )
