"""Small perceptrons: a policy over discrete or continuous actions, and a critic."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from marl_engine.capabilities import capabilities_of, spaces_of
from marl_engine.errors import Refused
from marl_engine.networks.mlp import MLP
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.action_values import ActionValuePolicy
from marl_engine.policies.network import (
    NARROWEST,
    WIDEST,
    check_layers,
    fill_seats,
    indicated_seats,
    policy_of,
)
from marl_engine.types import Game, Policy


def least_features(game: Game) -> Tensor:
    """Returns the least value (…) of each byte in opening observations, near which most observations are.

    Returns zeros for games whose observations are no bytes.
    """
    if (features := infoset_features(game)) is not None:
        return torch.zeros(features.shape[1])
    if spaces_of(game).observation_dtype not in (None, torch.uint8):
        return torch.zeros(game.observation_shape)
    return deepcopy(game).reset(torch.arange(8)).observation.flatten(0, 1).amin(0).cpu()


def infoset_features(game: Game) -> Tensor | None:
    """Returns the features (I + 1, D) of a small game's information sets, with a last row of zeros.

    Returns None for other games.
    """
    numbered = capabilities_of(game).numbered
    return (
        None if numbered is None else torch.cat([numbered.features.cpu(), torch.zeros(1, numbered.features.shape[1])])
    )


@dataclass
class MLPSpec:
    """Makes a profile of networks for a game.

    Raises ValueError for sizes below 1, for an unknown activation, and for deviations out of range.
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike
    squashed: bool = False  # continuous actions are squashed into their box by tanh; needed by SAC
    log_std: float = 0.0  # of continuous actions that are not squashed, at first; in half widths of the box
    action_values: bool = False  # outputs are values of actions, the best of which is played; needed by VDN and QMIX
    normalise_observations: bool = False  # by their running mean and variance

    def __post_init__(self) -> None:
        check_layers(self.hidden, self.activation)
        check_fields("policy", self, "log_std", least=NARROWEST, most=WIDEST)

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""

        def network(outputs: int) -> MLP:
            return self.perceptron(game, self.hidden, outputs, gain=0.01)

        return fill_seats(game, self.shared, lambda: self._policy(game, network))

    def _policy(self, game: Game, network: Callable[[int], MLP]) -> Policy:
        if self.action_values:
            return ActionValuePolicy(network(game.actions), tabular=capabilities_of(game).numbered is not None)
        return policy_of(game, network, self.squashed, self.log_std)

    def critic(self, game: Game, joint: bool) -> MLP:
        """Returns a critic of one seat's observation, or of all seats with its own first (MAPPO). Raises Refused."""
        if self.action_values:
            raise Refused("policy.action_values goes with responder=vdn and qmix, which learn values without a critic")
        return self.perceptron(game, self.hidden, 1, gain=1.0, views=game.players if joint else 1)

    def perceptron(self, game: Game, hidden: Sequence[int], outputs: int, *, gain: float, views: int = 1) -> MLP:
        """A perceptron from the observations of so many seats (`views`), the own one first, to so many outputs."""
        return MLP(
            least_features(game).flatten().repeat(views),
            hidden,
            outputs,
            seats=indicated_seats(game, self.seat_indicator, self.shared),
            activation=self.activation,
            gain=gain,
            shown=infoset_features(game),
            normalise=self.normalise_observations,
        )
