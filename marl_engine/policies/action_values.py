"""Policies that play the action of the highest value, and explore while they learn."""

import torch
from torch import Tensor

from marl_engine.networks.mlp import MLP
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.types import Memory, Policy


class ActionValuePolicy(Policy):
    """A network from observations to values of actions, of which the best legal one is played.

    A learner sets `epsilon` while it plays: the probability of a legal action that is drawn uniformly. It is 0
    otherwise, and not saved.
    """

    def __init__(self, network: MLP, tabular: bool = False):
        super().__init__()
        self.network, self.tabular, self.epsilon = network, tabular, 0.0

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        return explore(self.network(rows), legal, self.epsilon), memory

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.network.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        self.network.observe(rows)


@torch.no_grad()
def explore(values: Tensor, legal: Tensor | None, epsilon: float) -> Categorical:
    """Returns distributions that take the action with the highest of values (N, A), and with probability `epsilon` one
    drawn uniformly from the legal actions (N, A).
    """
    legal = torch.ones_like(values, dtype=torch.bool) if legal is None else legal
    best = best_actions(values, legal)
    greedy = torch.zeros_like(legal).scatter_(-1, best[:, None], True)
    shares = epsilon * legal / legal.sum(-1, keepdim=True).clamp(min=1) + (1 - epsilon) * greedy
    return Categorical(shares.log(), greedy if epsilon == 0 else legal)


def best_actions(values: Tensor, legal: Tensor) -> Tensor:
    """Returns the legal actions (…) with the highest of values (…, A); the first one where none is legal."""
    return values.masked_fill(~legal, -torch.inf).argmax(-1)
