"""Policies with a feed-forward network, over discrete or continuous actions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from marl_engine.capabilities import capabilities_of, groups_of, spaces_of
from marl_engine.errors import Refused
from marl_engine.networks.board import BoardNetwork
from marl_engine.networks.cnn import CNN
from marl_engine.networks.mlp import ACTIVATIONS, MLP
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.factored import Factored, discrete
from marl_engine.numerics.distributions.gaussian import Gaussian, Squashed
from marl_engine.types import Game, Memory, Policy, Profile

NARROWEST, WIDEST = -10.0, 2.0  # logs of standard deviations that a network may give


class NetworkPolicy(Policy):
    """A network from observations to logits; `tabular` where these are numbers of information sets.

    `branches` are those of the action space.
    """

    encodes_like_critic = True

    def __init__(self, network: MLP | CNN | BoardNetwork, tabular: bool = False, branches: tuple[int, ...] = ()):
        super().__init__()
        self.network, self.tabular, self.branches = network, tabular, branches
        self.noise_shape = (len(branches),) if branches else ()

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None
    ) -> tuple[Categorical | Factored, Memory]:
        return discrete(self.network(rows), legal, self.branches), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.network.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        self.network.observe(rows)


class GaussianPolicy(Policy):
    """A network from observations to Gaussians over actions of D numbers, in the game's own units.

    Plain ones have one standard deviation for all observations; squashed ones lie in the box from `low` to `high` (D,),
    and the network gives their deviations too. Where the box has no end, its half width counts as 1.
    """

    encodes_like_critic = True
    centre: Tensor
    width: Tensor

    def __init__(
        self, network: MLP | CNN | BoardNetwork, low: Tensor, high: Tensor, squashed: bool, log_std: float = 0.0
    ):
        super().__init__()
        self.network, self.squashed, self.noise_shape = network, squashed, tuple(low.shape)
        bounded = low.isfinite() & high.isfinite()
        self.register_buffer("centre", torch.where(bounded, (low + high) / 2, 0.0), persistent=False)
        self.register_buffer("width", torch.where(bounded, (high - low) / 2, 1.0), persistent=False)
        if not squashed:
            self.log_std = nn.Parameter(torch.full((len(low),), log_std))  # in half widths of the box

    def forward(
        self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None
    ) -> tuple[Gaussian | Squashed, Memory]:
        numbers = self.network(rows)
        if not self.squashed:
            return Gaussian(self.centre + self.width * numbers, self.width.log() + self.log_std), memory
        mean, log_std = numbers.chunk(2, dim=-1)
        return Squashed(Gaussian(mean, log_std.clamp(NARROWEST, WIDEST)), self.centre, self.width), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.network.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        self.network.observe(rows)


def policy_of(
    game: Game, network: Callable[[int], MLP | CNN | BoardNetwork], squashed: bool = False, log_std: float = 0.0
) -> Policy:
    """The policy of a network, made for as many outputs as it needs in a game. Raises Refused for bounds at infinity.

    Bounds of squashed actions must be finite. `log_std` is the first log standard deviation of plain Gaussians.
    """
    space = spaces_of(game).action
    if space.low is None or space.high is None:
        numbered = capabilities_of(game).numbered is not None
        return NetworkPolicy(network(game.actions), tabular=numbered, branches=space.branches)
    if squashed and not (space.low.isfinite() & space.high.isfinite()).all():
        raise Refused(f"policy.squashed needs finite bounds, and the actions of {type(game).__name__} have none")
    return GaussianPolicy(network(game.actions * (2 if squashed else 1)), space.low, space.high, squashed, log_std)


def fill_seats(game: Game, shared: bool, make: Callable[[], Policy]) -> Profile:
    """Returns one policy for each group of seats if they are shared, otherwise one for each seat."""
    groups = groups_of(game) if shared else range(game.players)
    policies = {group: make() for group in dict.fromkeys(groups)}
    return [policies[group] for group in groups]


def indicated_seats(game: Game, indicator: bool | None, shared: bool) -> int:
    """Returns the number of seats in the one-hot input that tells a network its seat; 0 for none.

    By default there is one if the seats are not symmetric.
    """
    indicated = not game.symmetric if indicator is None else indicator
    return game.players if indicated and shared else 0


def image_shape(game: Game, needs: str) -> tuple[int, int, int]:
    """Returns the shape (height, width, channels) of observations that are images.

    Raises Refused for others; `needs` says what needs images.
    """
    if len(game.observation_shape) != 3:
        raise Refused(
            f"{type(game).__name__} does not show images: {needs} observations (height, width, channels), not "
            f"{tuple(game.observation_shape)}"
        )
    height, width, depth = game.observation_shape
    return height, width, depth


def check_layers(hidden: Sequence[int], activation: str) -> None:
    """Raises Refused for layers without units, and for an unknown activation."""
    if not hidden or min(hidden) < 1:
        raise Refused(f"policy.hidden must name at least one layer, each of 1 unit or more, not {list(hidden)}")
    if activation not in ACTIVATIONS:
        raise Refused(f"policy.activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
