"""Policies and critics for board games, in which actions are cells or columns."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch

from marl_engine.errors import Refused
from marl_engine.networks.board import BoardNetwork
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.network import check_layers, fill_seats, image_shape, indicated_seats, policy_of
from marl_engine.types import Game, Policy


@dataclass
class BoardSpec:
    """Makes a profile of networks that judge each action by what surrounds its place; see `BoardNetwork`.

    Raises ValueError for sizes below 1, an unknown activation, observations that are not images (H, W, C), and games
    without an action for each cell or each column.
    """

    reach: int = 3  # cells from a place to each side that are seen
    hidden: Sequence[int] = (64, 32)  # units of the layers that judge a place
    summary: int = 64  # units that see the whole board
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike

    def __post_init__(self) -> None:
        check_layers(self.hidden, self.activation)
        check_fields("policy", self, "reach", "summary", least=1, whole=True)

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""

        def network(outputs: int) -> BoardNetwork:
            made = self.network(game, outputs, gain=0.01)
            if made.falls:
                check_falls(game)
            return made

        return fill_seats(game, self.shared, lambda: policy_of(game, network))

    def critic(self, game: Game, joint: bool) -> BoardNetwork:
        """Returns a critic of the board as one seat sees it, or as all seats do, the own view first."""
        return self.network(game, game.actions, gain=1.0, views=game.players if joint else 1, mean=True)

    def network(self, game: Game, actions: int, *, gain: float, views: int = 1, mean: bool = False) -> BoardNetwork:
        """A network from the boards of so many seats (`views`), the own one first."""
        return BoardNetwork(
            (views, *image_shape(game, "policy=board needs")),
            actions,
            self.reach,
            self.hidden,
            self.summary,
            seats=indicated_seats(game, self.seat_indicator, self.shared),
            activation=self.activation,
            gain=gain,
            mean=mean,
        )


def check_falls(game: Game) -> None:
    """Raises Refused unless the last plane marks all empty cells, and a piece falls to the first row."""
    game = deepcopy(game)
    first = game.reset(derive_seeds(0, 1))
    second = game.step(torch.zeros(1, game.players, dtype=torch.int64))
    before, after = (turn.observation[0, turn.acting[0]][0, :, :, -1] for turn in (first, second))
    fallen = before.new_ones(before.shape)
    fallen[0, 0] = 0
    if not (before == 1).all() or not torch.equal(after, fallen):
        raise Refused(
            f"{type(game).__name__} does not show how pieces fall: policy=board needs rows from below and a last plane "
            "that marks the empty cells; use policy=cnn"
        )
