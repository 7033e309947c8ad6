"""Policies with memory: a perceptron, a recurrent layer and logits, trained on sequences of turns."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from marl_engine.capabilities import spaces_of
from marl_engine.errors import Refused
from marl_engine.networks.recurrent import CELLS, RecurrentNetwork
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.factored import Factored, discrete
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.network import fill_seats
from marl_engine.types import Game, Memory, Policy


class RecurrentPolicy(Policy):
    """A recurrent network from observations to logits; `branches` are those of the action space."""

    unit, encodes_like_critic = "sequence", True

    def __init__(self, network: RecurrentNetwork, branches: tuple[int, ...] = ()):
        super().__init__()
        self.network, self.branches = network, branches
        self.noise_shape = (len(branches),) if branches else ()

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.network.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        self.network.observe(rows)

    def initial_memory(self, count: int) -> Memory:
        return self.network.initial_memory(count)

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None
    ) -> tuple[Categorical | Factored, Memory]:
        """Plays one turn; without memory it is the first one of a game."""
        logits, memory = self.network(rows, self.initial_memory(len(rows)) if memory is None else memory)
        return discrete(logits, legal, self.branches), memory

    def unroll(
        self, rows: Tensor, legal: Tensor | None, memory: Memory, opens: Tensor, acting: Tensor
    ) -> tuple[Categorical | Factored, Memory]:
        logits, memories = self.network.unroll(rows, memory, opens, acting)
        return discrete(logits[acting], None if legal is None else legal[acting], self.branches), memories[-1]


@dataclass
class RecurrentSpec:
    """Makes a profile of recurrent networks for a game.

    Raises ValueError for sizes below 1, an unknown activation or cell, and a game whose actions are numbers.
    """

    cell: str = "gru"  # or lstm
    units: int = 64  # H: of the recurrent layer
    hidden: Sequence[int] = (64,)  # units of the layers before it
    channels: Sequence[int] = ()  # of convolutional layers before those, for observations (H, W, C)
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike
    normalise_observations: bool = False  # by their running mean and variance; not images

    def __post_init__(self) -> None:
        check_fields("policy", self, "units", least=1, whole=True)
        if self.cell not in CELLS:
            raise Refused(f"policy.cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        if self.channels and self.normalise_observations:
            raise Refused("policy.normalise_observations does not go with policy.channels: images are not normalised")
        same = self.activation, self.shared, self.seat_indicator
        self.perceptrons = MLPSpec(self.hidden, *same, normalise_observations=self.normalise_observations)
        self.convolutions = CNNSpec(self.channels, 3, 1, True, self.hidden, *same) if self.channels else None

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""
        action = spaces_of(game).action
        if action.is_box:
            raise Refused(f"the action space of {type(game).__name__} is not discrete, as {type(self).__name__} needs")
        return fill_seats(
            game, self.shared, lambda: RecurrentPolicy(self._network(game, game.actions, 0.01, 1), action.branches)
        )

    def critic(self, game: Game, joint: bool) -> RecurrentNetwork:
        """Returns a recurrent critic of one seat's observations, or of all seats with its own first."""
        return self._network(game, 1, 1.0, game.players if joint else 1)

    def _network(self, game: Game, outputs: int, gain: float, views: int) -> RecurrentNetwork:
        make = self.perceptrons.perceptron if self.convolutions is None else self.convolutions.network
        trunk = make(game, self.hidden[:-1], self.hidden[-1], gain=2**0.5, views=views)
        return RecurrentNetwork(trunk, self.cell, self.units, outputs, gain)
