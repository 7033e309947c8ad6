"""Bayesian networks as tables of logits, for Markov games of a team with rules that are given as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.capabilities import TeamMarkovGame
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.choice import choose
from marl_engine.policies.bayes_net.exact import Parents, collect, joint_policy
from marl_engine.policies.bayes_net.graphs import graph_parents, graph_steps, make_graph
from marl_engine.policies.team import TeamDecision
from marl_engine.types import Memory, Policy


class BayesNetTable(Policy):
    """A softmax table (S, A^k, A) float64 for each seat, whose k parents are fixed. Rows are (N, 2): state and seat."""

    unit, draws_graphs = "team", False

    def __init__(self, logits: Sequence[Tensor], graph: Any):
        super().__init__()
        self.logits: Any = nn.ParameterList(logits)
        self.parents: Parents = graph_parents(graph)
        self.order = [seat for seats in graph_steps(graph) for seat in seats]

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return torch.stack([observation[:, 0].long(), seat], dim=-1)

    def tables(self) -> list[Tensor]:
        """Returns the distributions (S, A^k, A) of all seats."""
        return [each.detach().softmax(-1) for each in self.logits]

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        """Returns the marginal distributions of seats that play without their team."""
        joint = joint_policy(self.tables(), self.parents)
        alone = [()] * len(self.parents)
        marginals = torch.stack([collect(joint, seat, alone)[:, 0] for seat in range(len(alone))], dim=1)  # (S, P, A)
        return Categorical(marginals[rows[:, 0], rows[:, 1]].log().float(), legal), memory

    def decide_team(
        self, rows: Tensor, legal: Tensor | None, acting: Tensor, noise: Tensor, greedy: bool = False
    ) -> TeamDecision:
        action, log_prob = torch.zeros_like(noise, dtype=torch.int64), torch.zeros_like(noise)
        for seat in self.order:
            seen = torch.zeros_like(action[:, 0])
            for parent in self.parents[seat]:
                seen = seen * self.logits[parent].shape[-1] + action[:, parent]
            logits = self.logits[seat][rows[:, seat, 0], seen].float()
            pi = Categorical(logits, None if legal is None else legal[:, seat])
            action[:, seat], log_prob[:, seat] = choose(pi, noise[:, seat], greedy)
        return TeamDecision(action, log_prob)


@dataclass
class BayesNetTableSpec:
    """Makes one policy for all seats of a game, of normal logits at first.

    Raises ValueError for a spread below 0 and for a graph with cycles.
    """

    graph: str | Sequence[Sequence[int]] = "complete"  # or none, line, or edges [j, i]: seat i sees seat j
    std: float = 1.0  # of the first logits

    def __post_init__(self) -> None:
        check_fields("policy", self, "std", least=0)

    def profile(self, game: TeamMarkovGame) -> list[Policy]:
        """One policy in all seats, drawn from torch's random state."""
        graph = make_graph(self.graph, game.players)
        shapes = [(len(game.features), game.actions ** len(each), game.actions) for each in graph_parents(graph)]
        logits = [self.std * torch.randn(shape, dtype=torch.float64) for shape in shapes]
        return [BayesNetTable(logits, graph)] * game.players
