"""Directed acyclic graphs over the seats of a team: fixed ones, and those that a network draws for each decision.

A drawn graph is acyclic by construction: a random permutation of the seats, and edges only from earlier to later seats
(Charpentier et al. 2022, arXiv:2203.08509, as used by Chen and Zhang 2023, arXiv:2306.01920). The permutation is the
one with the highest sum of scores, after Gumbel noise is added to them (Mena et al. 2018, arXiv:1802.08665). Gradients
pass through its relaxation, Sinkhorn's normalisation. Departures: the scores of a seat are computed from its own
observation and the mean over seats, and the share of edges is held to its target in the mean over a batch.

`parents[..., i, j]` says whether seat i sees the action of seat j.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise, permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marl_engine.errors import Refused
from marl_engine.networks.mlp import MLP
from marl_engine.numerics.rng import split_uniforms

GRAPHS = ("none", "line", "complete")
LEARNED = "learned"
CLEAREST = 1e-6  # uniform numbers are kept so far away from 0 and 1
OPEN = 2.0  # logit of an edge at first


class Drawn(NamedTuple):
    """The graphs of B games, and the order in which their seats decide."""

    parents: Tensor  # (B, P, P) bool
    steps: list[Tensor]  # (B, K) int64: seats that decide at once, after all their parents


def make_graph(graph: str | Sequence[Sequence[int]], players: int) -> Any:
    """Returns the networkx graph of a name in `GRAPHS`, or of edges [j, i], by which seat i sees the action of seat j.

    Raises Refused for another name, for seats that do not exist, and for a graph with a cycle.
    """
    import networkx

    named = {"none": [], "line": pairwise(range(players)), "complete": combinations(range(players), 2)}
    if graph == LEARNED:
        raise Refused(
            f"policy.graph=learned needs policy=bayes_net, whose network draws the graph; tables have a fixed one: "
            f"{', '.join(GRAPHS)}, or a list of edges"
        )
    if isinstance(graph, str) and graph not in GRAPHS:
        raise Refused(f"policy.graph must be one of {', '.join(GRAPHS)}, {LEARNED}, or a list of edges, not {graph!r}")
    made = networkx.DiGraph()
    made.add_nodes_from(range(players))
    for edge in named[graph] if isinstance(graph, str) else graph:
        if len(edge) != 2 or not all(0 <= seat < players for seat in edge):
            raise Refused(f"an edge of policy.graph must be two seats from 0 to {players - 1}, not {list(edge)}")
        made.add_edge(*edge)
    if not networkx.is_directed_acyclic_graph(made):
        cycle = " -> ".join(str(seat) for seat, _ in networkx.find_cycle(made))
        raise Refused(f"policy.graph must be without cycles, and has {cycle} -> {cycle[0]}")
    return made


def graph_parents(graph: Any) -> list[tuple[int, ...]]:
    """Returns the parents of each seat, in order."""
    return [tuple(sorted(graph.predecessors(seat))) for seat in range(len(graph))]


def graph_steps(graph: Any) -> list[list[int]]:
    """Returns the seats in groups that decide at once, each after all their parents."""
    import networkx

    return [sorted(each) for each in networkx.topological_generations(graph)]


class FixedGraph(nn.Module):
    """A graph that is the same in all games, except that with a density below 1 each edge is left out at random.

    `edges` are pairs of a parent and its child.
    """

    parents: Tensor

    def __init__(self, graph: Any):
        super().__init__()
        rows = torch.zeros(len(graph), len(graph), dtype=torch.bool)
        for seat, parents in enumerate(graph_parents(graph)):
            rows[seat, list(parents)] = True
        self.register_buffer("parents", rows)
        self.edges, self.steps = list(graph.edges), graph_steps(graph)

    def draw(self, rows: Tensor, noise: Tensor, density: float, greedy: bool) -> Drawn:
        """Draws graphs for B games from noise (B, P); see `LearnedGraph.draw`."""
        if density == 0:
            return draw_nothing(noise)
        parents = self.parents.expand(len(noise), -1, -1)
        if density < 1:
            parents = parents & (split_uniforms(noise, noise.shape[1]) < density)
        return Drawn(parents, [torch.tensor(seats, device=noise.device).expand(len(noise), -1) for seats in self.steps])

    def relax(self, rows: Tensor, parents: Tensor, noise: Tensor, density: float) -> tuple[Tensor, Tensor | None]:
        """Returns the graphs as numbers, and no penalty; see `LearnedGraph.relax`."""
        return parents.float(), None


class LearnedGraph(nn.Module):
    """A context network: from the observations of all seats to a distribution over graphs.

    `context` maps rows to features (N, H). `edges` are all pairs of seats, which can be parent and child.
    """

    def __init__(self, context: MLP, players: int, temperature: float, sparsity: float, iterations: int):
        super().__init__()
        self.context, self.temperature, self.sparsity, self.iterations = context, temperature, sparsity, iterations
        self.edges = list(permutations(range(players), 2))
        features = context.outputs
        self.scores = nn.Linear(2 * features, players)
        self.heads, self.tails = nn.Linear(2 * features, features), nn.Linear(2 * features, features)

    def logits(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the scores (N, P, P) of seats in places, and the logits (N, P, P) of edges, from rows (N, P, …)."""
        features = torch.relu(self.context(rows.flatten(0, 1))).view(*rows.shape[:2], -1)
        both = torch.cat([features, features.mean(1, keepdim=True).expand_as(features)], dim=-1)
        scores = nn.functional.logsigmoid(self.scores(both))
        edges = self.heads(both) @ self.tails(both).mT / features.shape[-1] ** 0.5
        return scores, edges + OPEN

    def draw(self, rows: Tensor, noise: Tensor, density: float, greedy: bool) -> Drawn:
        """Draws graphs for B games from rows (B, P, …) and noise (B, P); the most probable ones if `greedy`.

        With density 0 they have no edges.
        """
        if density == 0:
            return draw_nothing(noise)
        scores, edges = self.logits(rows)
        if not greedy:
            gumbel, logistic = graph_noise(noise)
            scores, edges = scores + gumbel, edges + logistic
        places = assign_places(scores)
        earlier = places[:, None, :] < places[:, :, None]
        return Drawn(earlier & (edges > 0), list(places.argsort(1).split(1, dim=1)))

    def relax(self, rows: Tensor, parents: Tensor, noise: Tensor, density: float) -> tuple[Tensor, Tensor | None]:
        """Returns graphs (N, P, P) as numbers, equal to `parents`, with gradients of their relaxation, and a penalty.

        The penalty is sparsity * |mean share of the possible edges - density|. Rows (N, P, …) and noise (N, P) are
        those from which the graphs were drawn.
        """
        hard = parents.float()
        if density == 0:
            return hard, None
        scores, edges = self.logits(rows)
        gumbel, logistic = graph_noise(noise)
        chances = sinkhorn((scores + gumbel) / self.temperature, self.iterations)
        soft = precedence(chances) * torch.sigmoid((edges + logistic) / self.temperature)
        graph = hard + soft - soft.detach()
        return graph, self.sparsity * (openness(graph).mean() - density).abs()


def draw_nothing(noise: Tensor) -> Drawn:
    """Returns graphs without edges for B games, given their noise (B, P)."""
    count, players = noise.shape
    parents = torch.zeros(count, players, players, dtype=torch.bool, device=noise.device)
    return Drawn(parents, [torch.arange(players, device=noise.device).expand(count, -1)])


def graph_noise(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Returns Gumbel and logistic noise, (N, P, P) each, from uniform numbers (N, P)."""
    uniform = split_uniforms(noise, 2 * noise.shape[1]).clamp(CLEAREST, 1 - CLEAREST)
    first, second = uniform.chunk(2, dim=-1)
    return -(-first.log()).log(), second.logit()


def assign_places(scores: Tensor) -> Tensor:
    """Returns the permutations (N, P) int64 with the highest sum of scores (N, P, P): the place of each seat."""
    from scipy.optimize import linear_sum_assignment

    tables = scores.detach().cpu().double().numpy()
    places = [torch.from_numpy(linear_sum_assignment(table, maximize=True)[1]) for table in tables]
    return torch.stack(places).to(scores.device)


def sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Returns doubly stochastic matrices (N, P, P): exp(scores), rows and columns normalised alternately."""
    for _ in range(iterations):
        scores = scores.log_softmax(-1).log_softmax(-2)
    return scores.exp()


def precedence(chances: Tensor) -> Tensor:
    """Returns how likely seat j has an earlier place than seat i, (N, P, P), from chances of seats to have places.

    It is sum_q chances[i, q] sum_{p < q} chances[j, p]. The diagonal is 0 only for permutations; its gradient, as if a
    seat could see its own action, is not removed.
    """
    return chances @ (chances.cumsum(-1) - chances).mT


def openness(graph: Tensor) -> Tensor:
    """Returns the share (N,) of the P (P - 1) / 2 possible edges that acyclic graphs (N, P, P) have."""
    players = graph.shape[-1]
    return graph.sum((-2, -1)) / max(1, players * (players - 1) / 2)
