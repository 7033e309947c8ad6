"""Small networks: a policy over discrete or continuous actions, and a critic."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from marl_engine.capabilities import capabilities_of
from marl_engine.networks.mlp import ACTIVATIONS, MLP
from marl_engine.numerics.categorical import Categorical
from marl_engine.numerics.gaussian import Gaussian, Squashed
from marl_engine.types import Game, Memory, Policy

NARROWEST, WIDEST = -10.0, 2.0  # logs of standard deviations that a network may give


class MLPPolicy(Policy):
    """A multi-layer perceptron from observations to logits."""

    encodes_like_critic = True

    def __init__(self, perceptron: MLP):
        super().__init__()
        self.perceptron, self.tabular = perceptron, perceptron.shown is not None

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        return Categorical(self.perceptron(rows), legal), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.perceptron.encode(observation, seat)


class GaussianMLPPolicy(Policy):
    """A multi-layer perceptron from observations to Gaussians over actions of D numbers, in the game's own units.

    Plain ones have one standard deviation for all observations; squashed ones lie in the box from `low` to `high` (D,),
    and the perceptron gives their deviations too. Where the box has no end, its half width counts as 1.
    """

    encodes_like_critic = True
    centre: Tensor
    width: Tensor

    def __init__(self, perceptron: MLP, low: Tensor, high: Tensor, squashed: bool):
        super().__init__()
        self.perceptron, self.squashed, self.noise_shape = perceptron, squashed, tuple(low.shape)
        bounded = low.isfinite() & high.isfinite()
        self.register_buffer("centre", torch.where(bounded, (low + high) / 2, 0.0), persistent=False)
        self.register_buffer("width", torch.where(bounded, (high - low) / 2, 1.0), persistent=False)
        if not squashed:
            self.log_std = nn.Parameter(torch.zeros(len(low)))  # in half widths of the box

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None
    ) -> tuple[Gaussian | Squashed, Memory]:
        found = self.perceptron(rows)
        if not self.squashed:
            return Gaussian(self.centre + self.width * found, self.width.log() + self.log_std), memory
        mean, log_std = found.chunk(2, dim=-1)
        return Squashed(Gaussian(mean, log_std.clamp(NARROWEST, WIDEST)), self.centre, self.width), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.perceptron.encode(observation, seat)


def constant_features(game: Game) -> Tensor:
    """What all opening observations of a game share, (…): the features that never change, and no others."""
    if (features := infoset_features(game)) is not None:
        return torch.zeros(features.shape[1])
    return deepcopy(game).reset(torch.arange(8)).observation.flatten(0, 1).amin(0).cpu()


def infoset_features(game: Game) -> Tensor | None:
    """What the information sets of a small game look like (I + 1, D), the last row zeros; None for other games."""
    numbered = capabilities_of(game).numbered
    return (
        None if numbered is None else torch.cat([numbered.features.cpu(), torch.zeros(1, numbered.features.shape[1])])
    )


@dataclass
class MLPSpec:
    """Makes a profile of networks for a game.

    Raises ValueError for sizes below 1 and for an unknown activation.
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike
    squashed: bool = False  # actions that are numbers are pressed into their box by tanh, as learning off-policy needs

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"policy.hidden must name at least one layer, each of 1 unit or more, not {list(self.hidden)}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"policy.activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""
        fresh = [self._policy(game) for _ in range(1 if self.shared else game.players)]
        return fresh * game.players if self.shared else fresh

    def _policy(self, game: Game) -> Policy:
        spaces = capabilities_of(game).spaces
        if spaces is None or spaces.action.low is None or spaces.action.high is None:
            return MLPPolicy(self.perceptron(game, self.hidden, game.actions, gain=0.01))
        perceptron = self.perceptron(game, self.hidden, game.actions * (2 if self.squashed else 1), gain=0.01)
        return GaussianMLPPolicy(perceptron, spaces.action.low, spaces.action.high, self.squashed)

    def critic(self, game: Game, joint: bool) -> MLP:
        """Values from one seat's observation, or from all of them, own first (MAPPO's centralised critic)."""
        return self.perceptron(game, self.hidden, 1, gain=1.0, views=game.players if joint else 1)

    def perceptron(self, game: Game, hidden: Sequence[int], outputs: int, *, gain: float, views: int = 1) -> MLP:
        """A perceptron from the observations of so many seats (`views`), the own one first, to so many outputs."""
        indicated = not game.symmetric if self.seat_indicator is None else self.seat_indicator
        return MLP(
            constant_features(game).flatten().repeat(views),
            hidden,
            outputs,
            seats=game.players if indicated and self.shared else 0,
            activation=self.activation,
            gain=gain,
            shown=infoset_features(game),
        )
