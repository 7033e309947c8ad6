"""A team as one policy: each seat sees its own observation and the actions of its parents in a graph over the seats.

pi(a | o) = prod_i pi(a_i | o_i, a_parents(i)), the Bayesian-network policy of Chen and Zhang 2023 (arXiv:2306.01920,
section 4). Without edges the seats have independent policies; with all edges it is an auto-regressive joint policy. The
graph is fixed, or drawn by a network for each decision. Edges can be annealed away during training; the seats then act
without seeing each other's actions.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused
from marl_engine.networks.mlp import MLP
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.choice import choose
from marl_engine.policies.bayes_net.graphs import LEARNED, FixedGraph, LearnedGraph, make_graph
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.network import check_layers
from marl_engine.policies.team import TeamDecision
from marl_engine.teams import check_team
from marl_engine.types import Game, Memory, Policy

ACTIVATE = {"relu": torch.relu, "tanh": torch.tanh}


class BayesNetPolicy(Policy):
    """Networks that are shared by the seats: `trunk` from observations to features, `head` from these and the actions
    of parents, one-hot, to logits.

    `density` is the share of edges that are open: 1 for all, 0 for none.
    """

    unit, encodes_like_critic, draws_graphs = "team", True, True
    density: Tensor

    def __init__(self, trunk: MLP, head: MLP, graph: FixedGraph | LearnedGraph, players: int):
        super().__init__()
        self.trunk, self.head, self.graph, self.players = trunk, head, graph, players
        self.register_buffer("density", torch.ones(()))

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.trunk.encode(observation, seat)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        """Returns the distributions of seats that see nobody's action."""
        features = self._features(rows)
        nobody = features.new_zeros(len(features), self.players * self.head.outputs)
        return Categorical(self.head(torch.cat([features, nobody], dim=1)), legal), memory

    def decide_team(
        self, rows: Tensor, legal: Tensor | None, acting: Tensor, noise: Tensor, greedy: bool = False
    ) -> TeamDecision:
        drawn = self.graph.draw(rows, noise, self.density.item(), greedy)
        parents = drawn.parents & acting[:, None, :]
        action, log_prob = self._decide(rows, legal, parents, drawn.steps, noise, greedy)
        return TeamDecision(action, log_prob, {"parents": parents, "noise": noise})

    def team_distribution(
        self, rows: Tensor, legal: Tensor | None, acting: Tensor, action: Tensor, draws: Any
    ) -> tuple[Categorical, Tensor | None]:
        graph, penalty = self.graph.relax(rows, draws["parents"], draws["noise"], self.density.item())
        taken = F.one_hot(action, self.head.outputs) * acting[..., None]  # seats that have left do nothing
        seen = graph[..., None] * taken.float()[:, None]  # (N, P, P, A)
        features = self._features(rows.flatten(0, 1)).view(*action.shape, -1)
        logits = self.head(torch.cat([features, seen.flatten(2)], dim=-1)[acting])
        return Categorical(logits, None if legal is None else legal[acting]), penalty

    def set_density(self, density: float) -> None:
        """Sets the share of edges that are open, and that the penalty of a learned graph aims at."""
        self.density.fill_(density)

    def _features(self, rows: Tensor) -> Tensor:
        """Returns features (N, H) of rows (N, …)."""
        return ACTIVATE[self.trunk.activation](self.trunk(rows))

    def _decide(
        self,
        rows: Tensor,
        legal: Tensor | None,
        parents: Tensor,
        steps: Sequence[Tensor],
        noise: Tensor,
        greedy: bool,
    ) -> tuple[Tensor, Tensor]:
        """Returns actions and log-probabilities (B, P); seats decide in the order of `steps`."""
        games = torch.arange(len(rows), device=noise.device)[:, None]
        features = self._features(rows.flatten(0, 1)).view(*noise.shape, -1)
        action, log_prob = torch.zeros_like(noise, dtype=torch.int64), torch.zeros_like(noise)
        taken = noise.new_zeros(*noise.shape, self.head.outputs)  # actions so far, one-hot
        for seats in steps:
            seen = parents[games, seats].float()[..., None] * taken[:, None]
            logits = self.head(torch.cat([features[games, seats], seen.flatten(2)], dim=-1).flatten(0, 1))
            pi = Categorical(logits, None if legal is None else legal[games, seats].flatten(0, 1))
            chosen, chosen_log_prob = choose(pi, noise[games, seats].flatten(), greedy)
            action[games, seats], log_prob[games, seats] = chosen.view_as(seats), chosen_log_prob.view_as(seats)
            taken[games, seats] = F.one_hot(chosen, self.head.outputs).float().view(*seats.shape, -1)
        return action, log_prob


@dataclass
class BayesNetSpec:
    """Makes one policy for all seats of a game.

    Raises ValueError for numbers out of range, an unknown activation, a graph with cycles, a game whose actions are
    numbers, one in which seats do not act at the same time, and one of opponents.
    """

    graph: str | Sequence[Sequence[int]] = LEARNED  # or none, line, complete, or edges [j, i]: seat i sees seat j
    hidden: Sequence[int] = (64, 64)  # of observations; parents' actions join before the last layer
    activation: str = "relu"
    seat_indicator: bool | None = None  # networks are told the seat; None: where the seats are not alike
    temperature: float = 1.0  # tau, of the relaxation of a learned graph
    sparsity: float = 0.1  # alpha: weight of the penalty for more or fewer edges than intended
    sinkhorn: int = 10  # normalisations of rows and columns

    def __post_init__(self) -> None:
        check_layers(self.hidden, self.activation)
        check_fields("policy", self, "temperature", above=0)
        check_fields("policy", self, "sparsity", least=0)
        check_fields("policy", self, "sinkhorn", least=1, whole=True)
        self.perceptrons = MLPSpec(self.hidden, self.activation, seat_indicator=self.seat_indicator)

    def profile(self, game: Game) -> list[Policy]:
        """One policy in all seats, drawn from torch's random state."""
        check_team_game(type(self).__name__, game)
        first, last = self.hidden[:-1], self.hidden[-1]
        trunk = self.perceptrons.perceptron(game, first, last, gain=2**0.5)
        inputs = torch.zeros(last + game.players * game.actions)
        head = MLP(inputs, (last,), game.actions, seats=0, activation=self.activation, gain=0.01)
        graph: FixedGraph | LearnedGraph
        if self.graph == LEARNED:
            context = self.perceptrons.perceptron(game, first, last, gain=2**0.5)
            graph = LearnedGraph(context, game.players, self.temperature, self.sparsity, self.sinkhorn)
        else:
            graph = FixedGraph(make_graph(self.graph, game.players))
        return [BayesNetPolicy(trunk, head, graph, game.players)] * game.players

    def critic(self, game: Game, joint: bool) -> MLP:
        """Returns a critic of one seat's observation, or of all seats with its own first (MAPPO)."""
        return self.perceptrons.critic(game, joint)


def check_team_game(name: str, game: Game) -> None:
    """Raises Refused for a game of opponents, one whose actions are numbers or several choices, and one in whose first
    turn some seats wait.

    `name` is that of the policies.
    """
    check_team(name, game)
    spaces = capabilities_of(game).spaces
    if spaces is not None and (spaces.action.is_box or spaces.action.branches):
        raise Refused(f"an action of {type(game).__name__} is not a single choice, as {name} needs")
    if not deepcopy(game).reset(torch.arange(8, device="cpu")).acting.all():
        raise Refused(
            f"{name} is for games in which all seats act at the same time; in {type(game).__name__} some wait"
        )
