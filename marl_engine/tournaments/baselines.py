"""Entrants that need no training: random play, one-step greedy play, single actions of a matrix game, and functions."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.errors import Refused
from marl_engine.numerics.distributions.factored import discrete
from marl_engine.numerics.rng import split_uniforms
from marl_engine.policies.tabular import TablePolicy
from marl_engine.types import Game, Memory, Policy, Profile, Turn

Bot = Callable[[Any, Turn, Tensor], Tensor]
"""Chooses actions (B, P) of all seats, from a game, its present turn, and uniform numbers (B, P). It sees the state."""


class Uniform:
    """N uniform distributions in a box from `low` to `high` (D,)."""

    def __init__(self, count: int, low: Tensor, high: Tensor):
        self.count, self.low, self.high = count, low, high

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N, D) and log-densities (N,), for uniform numbers (N, D)."""
        return self.low + noise * (self.high - self.low), self.log_prob(noise)

    def mode(self) -> Tensor:
        """Returns the centre of the box, (N, D)."""
        return ((self.low + self.high) / 2).expand(self.count, -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns the log-density (N,)."""
        return -(self.high - self.low).log().sum().expand(self.count)


class RandomPolicy(Policy):
    """Chooses any legal action with equal probability; in a box of numbers any point."""

    tabular = True

    def __init__(self, game: Game):
        super().__init__()
        spaces = capabilities_of(game).spaces
        assert spaces is not None
        self.action = spaces.action
        if self.action.is_box:
            if not (self.action.low.isfinite() & self.action.high.isfinite()).all():  # type: ignore[union-attr]
                raise Refused(f"random: the actions of {type(game).__name__} have no bounds; leave it out")
            self.noise_shape = tuple(self.action.low.shape)  # type: ignore[union-attr]
        elif self.action.branches:
            self.noise_shape = (len(self.action.branches),)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns empty rows (N, 0), since observations do not matter."""
        return torch.empty(len(observation), 0, device=observation.device)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Any, Memory]:
        if self.action.low is not None and self.action.high is not None:
            return Uniform(len(rows), self.action.low, self.action.high), memory
        return discrete(
            torch.zeros(len(rows), self.action.size, device=rows.device), legal, self.action.branches
        ), memory


def play_greedily(game: Any, turn: Turn, noise: Tensor) -> Tensor:
    """A `Bot`: takes the action with the largest immediate reward, while the others choose at random.

    The reward includes shaping. Ties are broken at random. Each action of each seat is tried in a copy of the game.
    """
    legal, tie_breaks = turn.legal.float(), split_uniforms(noise, game.actions + 1)
    others = (legal * (0.5 + tie_breaks[..., 1:])).argmax(-1)  # (B, P)
    action, state = others.clone(), game.state()
    for seat in range(game.players):
        if not turn.acting[:, seat].any():
            continue
        worth = torch.full(legal[:, seat].shape, -torch.inf)
        for choice in range(game.actions):
            allowed = turn.legal[:, seat, choice] & turn.acting[:, seat]
            tried = others.clone()
            tried[:, seat] = torch.where(allowed, choice, tried[:, seat])
            copy = deepcopy(game)
            copy.restore(state)
            after = copy.step(tried)
            worth[:, choice] = torch.where(allowed, (after.reward + after.shaping)[:, seat], -torch.inf)
        best = worth == worth.amax(-1, keepdim=True)
        action[:, seat] = (best * (0.5 + tie_breaks[:, seat, 1:])).argmax(-1)
    return action


def check_greedy(game: Game) -> None:
    """Raises Refused if the actions of a game are not numbered, so that they cannot be tried one by one."""
    spaces = capabilities_of(game).spaces
    if spaces is None or spaces.action.is_box or spaces.action.branches:
        raise Refused(f"greedy: the actions of {type(game).__name__} are not one numbered choice; leave it out")


def shared_actions(game: Any) -> dict[str, list[int]]:
    """Returns the actions that all players of a game in normal form have, by name, with their places (P,)."""
    extensive = capabilities_of(game).extensive
    if extensive is None or len(extensive.legal) != extensive.players:
        return {}
    names = [actions for _, actions in extensive.information_sets()]
    return {name: [each.index(name) for each in names] for name in names[0] if all(name in each for each in names)}


def make_pure(game: ExtensiveGame, places: Sequence[int]) -> Profile:
    """Returns the profile of a game in normal form whose players choose the actions at some places (P,)."""
    profile: Profile = []
    for seat, place in enumerate(places):
        policy = TablePolicy(game.form, game.legal, seat, game.start)
        policy.strategy.copy_(torch.eye(len(policy.strategy), dtype=torch.float64)[place])
        profile.append(policy)
    return profile


class Chosen:
    """The actions of N seats that a function has to choose; see `FunctionPolicy`."""

    def __init__(self, choose: Callable[[Tensor], Tensor]):
        self.choose = choose

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N, …) and zeros (N,), for uniform numbers (N,)."""
        return self.choose(noise), torch.zeros(len(noise))


class FunctionPolicy(Policy):
    """A Python function `act(observation, legal, seat, noise) -> actions` as a policy.

    It gets NumPy arrays: observations (N, …), legal actions (N, A) bool, seats (N,), and uniform numbers (N,) in [0,
    1), from which its randomness should come. It returns N numbers of legal actions. In a numbered game observations
    are its features. Raises Refused for other results.
    """

    def __init__(self, name: str, function: Callable[..., Any], game: Game):
        super().__init__()
        numbered = capabilities_of(game).numbered
        self.name, self.function, self.shape, self.actions = name, function, game.observation_shape, game.actions
        self.features = None if numbered is None else numbered.features

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows (N, 1 + D) float64: the seat, and the observation."""
        return torch.cat([seat[:, None].double(), observation.flatten(1).double()], dim=1)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Any, Memory]:
        observation = rows[:, 1:].unflatten(1, self.shape)
        if self.features is not None:
            observation = self.features[observation[:, 0].long().clamp(min=0)]
        allowed = torch.ones(len(rows), self.actions, dtype=torch.bool) if legal is None else legal
        arrays = observation.numpy(), allowed.numpy(), rows[:, 0].long().numpy()
        return Chosen(lambda noise: self._check(self._call(*arrays, noise.numpy()), allowed)), memory

    def _call(self, *arrays: np.ndarray) -> Any:
        """Returns what the function returns. Raises Refused if it fails."""
        try:
            return self.function(*arrays)
        except Exception as error:
            raise Refused(f"{self.name} failed: {type(error).__name__}: {error}") from error

    def _check(self, actions: Any, legal: Tensor) -> Tensor:
        """Returns actions (N,) int64. Raises Refused."""
        array = np.asarray(actions)
        if array.shape != (len(legal),) or array.dtype.kind not in "iu":
            raise Refused(f"{self.name} must return {len(legal)} integers, not {array.dtype} {array.shape}")
        valid = (array >= 0) & (array < self.actions)
        if not (valid & legal.numpy()[np.arange(len(array)), np.where(valid, array, 0)]).all():
            raise Refused(f"{self.name} chose an action that is not legal; `legal` says which are")
        return torch.from_numpy(array.astype(np.int64))


def import_function(name: str) -> Callable[..., Any]:
    """Imports the function "module:function". Raises Refused."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"{name} is not an importable function: {error}") from error
    if not callable(function):
        raise Refused(f"{name} is not a function")
    checked: Callable[..., Any] = function
    return checked


def digest_source(function: Callable[..., Any]) -> str:
    """Returns a text that differs between functions with different source, as far as that is known."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(function)
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()
