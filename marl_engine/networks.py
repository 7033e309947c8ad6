"""Small networks: a policy over discrete actions, and a critic."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from marl_engine.distributions import Categorical
from marl_engine.perceptron import ACTIVATIONS, Perceptron
from marl_engine.types import Game, Policy


class NetworkPolicy(Policy):
    """A multi-layer perceptron from observations to logits."""

    def __init__(self, perceptron: Perceptron):
        super().__init__()
        self.perceptron = perceptron

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Tensor | None = None
    ) -> tuple[Categorical, Tensor | None]:
        return Categorical(self.perceptron(rows), legal), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.perceptron.encode(observation, seat)


def background_of(game: Game) -> Tensor:
    """What all opening observations of a game share, (…): the features that never change, and no others."""
    if (features := features_of(game)) is not None:
        return torch.zeros(features.shape[1])
    return deepcopy(game).reset(torch.arange(8)).observation.flatten(0, 1).amin(0).cpu()


def features_of(game: Game) -> Tensor | None:
    """What the information sets of a small game look like (I + 1, D), the last row zeros; None for other games."""
    features = getattr(game, "features", None)
    return None if features is None else torch.cat([features.cpu(), torch.zeros(1, features.shape[1])])


@dataclass
class Network:
    """Makes a profile of networks for a game.

    Raises ValueError for sizes below 1 and for an unknown activation.
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"policy.hidden must name at least one layer, each of 1 unit or more, not {list(self.hidden)}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"policy.activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""
        background = background_of(game)
        fresh: list[Policy] = [
            NetworkPolicy(self._perceptron(background, game, game.actions, gain=0.01))
            for _ in range(1 if self.shared else game.players)
        ]
        return fresh * game.players if self.shared else fresh

    def critic(self, game: Game, joint: bool) -> Perceptron:
        """Values from one seat's observation, or from all of them, own first (MAPPO's centralised critic)."""
        background = background_of(game).flatten().repeat(game.players if joint else 1)
        return self._perceptron(background, game, 1, gain=1.0)

    def _perceptron(self, background: Tensor, game: Game, outputs: int, gain: float) -> Perceptron:
        indicated = not game.symmetric if self.seat_indicator is None else self.seat_indicator
        seats = game.players if indicated and self.shared else 0
        return Perceptron(
            background,
            self.hidden,
            outputs,
            seats=seats,
            activation=self.activation,
            gain=gain,
            shown=features_of(game),
        )
