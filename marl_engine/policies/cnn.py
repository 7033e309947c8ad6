"""Convolutional policies and critics, for games whose observations are images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marl_engine.errors import Refused
from marl_engine.networks.cnn import CNN
from marl_engine.numerics.checks import check_fields, check_number
from marl_engine.policies.network import check_layers, fill_seats, image_shape, indicated_seats, policy_of
from marl_engine.types import Game, Policy


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """Returns a setting of a kernel for its height and its width. Raises Refused for more or fewer values."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2:
        raise Refused(f"policy.{name} must be one value, or one for height and one for width, not {list(values)}")
    return values


@dataclass
class CNNSpec:
    """Makes a profile of convolutional networks for a game with observations (H, W, C).

    Raises ValueError for sizes below 1, an even kernel with padding, an unknown activation, and observations of other
    shapes or smaller than the kernel.
    """

    channels: Sequence[int] = (16,)  # of each convolutional layer
    kernel: int | Sequence[int] = 3  # its height and width, or [height, width]
    stride: int = 1
    padding: bool | Sequence[bool] = True  # with zeros; False: kernels stay inside the image; or one for each side
    hidden: Sequence[int] = (64,)  # units of the layers after them
    activation: str = "relu"
    shared: bool = True  # one network for all seats, or one each
    seat_indicator: bool | None = None  # the network is told its seat; None: where the seats are not alike

    def __post_init__(self) -> None:
        check_layers(self.hidden, self.activation)
        check_fields("policy", self, "stride", least=1, whole=True)
        self.sides, self.padded = pair("kernel", self.kernel), pair("padding", self.padding)
        for size, padded in zip(self.sides, self.padded, strict=True):
            check_number("policy.kernel", size, least=1, whole=True)
            if padded and size % 2 == 0:
                raise Refused(f"policy.kernel must be odd, such as 3 or 5, not {size}, unless policy.padding is false")
        if not self.channels or min(self.channels) < 1:
            raise Refused(
                f"policy.channels must name at least one layer, each of 1 channel or more, not {list(self.channels)}"
            )

    def profile(self, game: Game) -> list[Policy]:
        """A policy for each seat, drawn from torch's random state."""

        def network(outputs: int) -> CNN:
            return self.network(game, self.hidden, outputs, gain=0.01)

        return fill_seats(game, self.shared, lambda: policy_of(game, network))

    def critic(self, game: Game, joint: bool) -> CNN:
        """Returns a critic of the images of one seat, or of all seats with its own first."""
        return self.network(game, self.hidden, 1, gain=1.0, views=game.players if joint else 1)

    def network(self, game: Game, hidden: Sequence[int], outputs: int, *, gain: float, views: int = 1) -> CNN:
        """A network from the images of so many seats (`views`), the own one first, to so many outputs."""
        return CNN(
            (views, *image_shape(game, "convolutional layers need")),
            self.channels,
            hidden,
            outputs,
            kernel=self.sides,
            stride=self.stride,
            padding=self.padded,
            seats=indicated_seats(game, self.seat_indicator, self.shared),
            activation=self.activation,
            gain=gain,
        )
