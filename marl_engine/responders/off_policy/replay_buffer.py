"""Replay buffers, what comes after decisions, and the twin critics of learning with continuous actions."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from marl_engine.networks.mlp import layers_of
from marl_engine.networks.normalisation import InputNormaliser
from marl_engine.numerics.checks import check_number
from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Turn


class Transitions(NamedTuple):
    """N transitions of one player."""

    observation: Tensor  # (N, O) encoded
    action: Tensor  # (N, D)
    reward: Tensor  # (N,)
    after: Tensor  # (N, O) encoded
    over: Tensor  # (N,) 1 if the game ended by its rules, 0 if it went on or was truncated


class TeamTransitions(NamedTuple):
    """N transitions of a team of P players."""

    observation: Tensor  # (N, P, …) in the game's own type
    acting: Tensor  # (N, P) bool
    action: Tensor  # (N, P) int64
    reward: Tensor  # (N,) of the team
    after: Tensor  # (N, P, …)
    acting_after: Tensor  # (N, P) bool
    legal_after: Tensor  # (N, P, A) bool
    over: Tensor  # (N,) 1 if the game ended by its rules, 0 if it went on or was truncated


AnyTransitions = TypeVar("AnyTransitions", Transitions, TeamTransitions)


class ReplayBuffer(Generic[AnyTransitions]):
    """The last `most` transitions, of the kind, shapes and types of `empty`, which has none."""

    def __init__(self, most: int, empty: AnyTransitions):
        self.transitions: AnyTransitions = type(empty)(*(each.new_empty(most, *each.shape[1:]) for each in empty))
        self.most, self.seen = most, 0

    def __len__(self) -> int:
        return min(self.seen, self.most)

    def add(self, transitions: AnyTransitions) -> None:
        """Adds at most as many transitions as fit in; the oldest are overwritten."""
        place = (
            torch.arange(self.seen, self.seen + len(transitions.reward), device=transitions.reward.device) % self.most
        )
        for stored, new in zip(self.transitions, transitions, strict=True):
            stored[place] = new
        self.seen += len(transitions.reward)

    def take(self, index: Tensor) -> AnyTransitions:
        """Returns the transitions at places (N,)."""
        return type(self.transitions)(*(each.index_select(0, index) for each in self.transitions))

    def state(self) -> dict[str, Any]:
        """Returns what has been filled of the memory; see `get_state`."""
        return {"seen": self.seen, "transitions": [each[: len(self)] for each in self.transitions]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Fills the memory again; see `set_state`."""
        self.seen = state["seen"]
        for stored, saved in zip(self.transitions, state["transitions"], strict=True):
            stored[: len(self)] = saved


def check_buffer(memory: int, decisions: int, warm_up: int) -> None:
    """Raises ValueError if a replay buffer has no room for so many new transitions, and for a warm-up below 0."""
    check_number("responder.warm_up", warm_up, least=0, whole=True)
    if memory < decisions:
        raise ValueError(f"responder.memory must be at least {decisions}, the decisions added at once, not {memory}")


def follow(before: Tensor, last: Tensor) -> Tensor:
    """Returns what comes after each of T turns (T, …): the next of them, and `last` (…)."""
    return torch.cat([before[1:], last[None]])


def last_observations(trajectory: Trajectory, after: Turn) -> Tensor:
    """Returns the observations (T, B, P, …) after each decision; those of truncated games are their last ones."""
    following, cut = follow(trajectory.observation, after.observation), trajectory.truncated
    if trajectory.final is None:
        return following
    return torch.where(cut.view(*cut.shape, *[1] * (following.ndim - 2)), trajectory.final, following)


class TwinCritic(nn.Module):
    """Two independent critics, computed together: values (2, N) of observations (N, O) and actions (N, D).

    Layers are initialised like torch's linear ones. The first `normalised` features of observations are normalised by
    the statistics of the rows given to `observe`.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], normalised: int = 0):
        super().__init__()
        self.normaliser = InputNormaliser(normalised) if normalised else None
        sizes = [inputs, *hidden, 1]
        bounds = [wide**-0.5 for wide in sizes[:-1]]
        self.weights = nn.ParameterList(
            torch.empty(2, wide, narrow).uniform_(-bound, bound)
            for (wide, narrow), bound in zip(pairwise(sizes), bounds, strict=True)
        )
        self.biases = nn.ParameterList(
            torch.empty(2, 1, narrow).uniform_(-bound, bound) for narrow, bound in zip(sizes[1:], bounds, strict=True)
        )

    def observe(self, rows: Tensor) -> None:
        """Takes observations (N, O) into the statistics by which they are normalised, if they are."""
        if self.normaliser is not None:
            self.normaliser.observe(rows)

    def forward(self, rows: Tensor, actions: Tensor) -> Tensor:
        if self.normaliser is not None:
            rows = self.normaliser(rows)
        hidden = torch.cat([rows, actions], dim=-1).expand(2, -1, -1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(layers_of(self.weights, self.biases)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = hidden.relu_() if layer < last else hidden
        return hidden[..., 0]


def soft_target(
    reward: Tensor, over: Tensor, value: Tensor, log_prob: Tensor, *, discount: float, bonus: float
) -> Tensor:
    """Returns reward + discount * (1 - over) * (min of value - bonus * log_prob), (N,).

    `value` (2, N) and `log_prob` (N,) are those of the next action.
    """
    return reward + discount * (1 - over) * (value.amin(0) - bonus * log_prob)


def actor_loss(
    log_prob: Tensor, value: Tensor, near: Sequence[Tensor], weights: Sequence[float], bonus: float
) -> Tensor:
    """Returns the mean of c log pi - sum of w log near - min of value, with c = bonus + sum of w.

    log_prob and each of near are (N,), value is (2, N). With one anchor and w = 1 / t this is the loss of MDPO (Tomar
    et al. 2020, arXiv:2005.09814, section 5), c log pi + (bonus - c) log pi_old - Q. Without any it is the loss of SAC
    (Haarnoja et al. 2018, arXiv:1801.01290, equation 12).
    """
    loss = (bonus + sum(weights)) * log_prob - value.amin(0)
    for other, weight in zip(near, weights, strict=True):
        loss = loss - weight * other
    return loss.mean()
