"""Small networks: a policy over discrete actions, and a critic."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.distributions import Categorical
from marl_engine.sparse import SparseLinear
from marl_engine.types import Game, Policy

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Trunk(nn.Module):
    """Layers from observations (N, …) and seats (N,) to (N, outputs), orthogonal at first (gain sqrt 2, then `gain`)."""

    def __init__(
        self, background: Tensor, sizes: Sequence[int], outputs: int, *, seats: int, activation: str, gain: float
    ):
        super().__init__()
        self.first = SparseLinear(background, sizes[0])
        self.seat = nn.Embedding(seats, sizes[0]) if seats else None
        layers: list[nn.Module] = [ACTIVATIONS[activation]()]
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), ACTIVATIONS[activation]()]
        self.rest = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
        for layer in self.modules():
            if isinstance(layer, nn.Linear | SparseLinear):
                nn.init.orthogonal_(layer.weight, 2**0.5)
                nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(self.rest[-1].weight, gain)

    def forward(self, observation: Tensor, seat: Tensor) -> Tensor:
        hidden = self.first(observation)
        if self.seat is not None:
            hidden = hidden + self.seat(seat)
        return self.rest(hidden)


class NetworkPolicy(Policy):
    """A multi-layer perceptron from observations to logits."""

    def __init__(self, background: Tensor, actions: int, *, sizes: Sequence[int], seats: int, activation: str):
        super().__init__()
        self.trunk = Trunk(background, sizes, actions, seats=seats, activation=activation, gain=0.01)

    def forward(
        self, observation: Tensor, seat: Tensor, legal: Tensor | None = None, memory: Any = None
    ) -> tuple[Categorical, Any]:
        return Categorical(self.trunk(observation, seat), legal), memory

    def encode(self, observation: Tensor) -> Tensor:
        return self.trunk.first.lists(observation)


def background_of(game: Game) -> Tensor:
    """What all opening observations of a game share, (…): the features that never change, and no others."""
    return deepcopy(game).reset(torch.arange(8)).observation.flatten(0, 1).amin(0).cpu()


@dataclass
class Network:
    """Makes a profile of networks for a game.

    Raises ValueError for sizes below 1 and for an unknown activation.
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"policy.hidden must name at least one layer, each of 1 unit or more, not {list(self.hidden)}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"policy.activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")

    def seats(self, game: Game) -> int:
        """How many seats a shared network tells apart; 0 for none."""
        indicated = self.seat_indicator if self.seat_indicator is not None else not game.symmetric
        return game.players if indicated and self.shared else 0

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""
        background, seats = background_of(game), self.seats(game)
        fresh = [
            NetworkPolicy(background, game.actions, sizes=self.hidden, seats=seats, activation=self.activation)
            for _ in range(1 if self.shared else game.players)
        ]
        return list(fresh) * game.players if self.shared else list(fresh)

    def critic(self, game: Game, joint: bool) -> Trunk:
        """Values from one seat's observation, or from all of them, own first (MAPPO's centralised critic)."""
        background = background_of(game).flatten().repeat(game.players if joint else 1)
        return Trunk(background, self.hidden, 1, seats=self.seats(game), activation=self.activation, gain=1.0)
