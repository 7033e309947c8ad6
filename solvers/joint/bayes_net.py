"""Bayesian-network teams: seats see each other's actions when training begins, and no longer when it ends.

Chen and Zhang 2023 (arXiv:2306.01920, section 4.3). The target for the share of open edges is 1 in the first part of
training, and then falls linearly to 0. There are no edges in the rest of training, in which the seats learn
independently, and none in play. Departures: the target falls continuously, not in 40 steps; the weight of the penalty
for other shares is constant; where the target is 0, edges are ruled out, not only penalised.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import cast

import torch
from torch import Tensor

from marl_engine.numerics.checks import check_fields
from marl_engine.policies.bayes_net import BayesNetPolicy
from marl_engine.policies.bayes_net.graphs import openness
from marl_engine.policies.team import as_team
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Profile, Progress, Responder, Runner
from solvers.self_play import SelfPlay


@dataclass
class BayesNet:
    """Plays against: its team, seats in the order of the graph. Anchored to: itself. Magnet: none.

    Raises ValueError for shares out of range, for policies that are not those of a team, and if edges are to be taken
    away without a limit of steps, or from tables.
    """

    STATE = ()

    dense: float = 0.4  # share of training until which all edges are open
    sparse: float | None = 0.7  # share of training from which none is left; None: edges stay
    over: float | None = None  # steps of training

    def __post_init__(self) -> None:
        check_fields("solver", self, "dense", least=0, most=1)
        if self.sparse is None:
            return
        check_fields("solver", self, "sparse", above=self.dense, most=1)
        if self.over is not None:
            check_fields("solver", self, "over", above=0)

    def density(self, steps: float) -> float:
        """Returns the share of edges that are open after so many steps."""
        if self.sparse is None or self.over is None:
            return 1.0
        return min(1.0, max(0.0, (self.sparse - steps / self.over) / (self.sparse - self.dense)))

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`."""
        (team, *others) = dict.fromkeys(profile)
        if others or team.unit != "team":
            names = ", ".join(sorted({type(policy).__name__ for policy in profile}))
            raise ValueError(
                f"BayesNet goes with policy=bayes_net, and in some games with policy=table, not with {names}"
            )
        if self.sparse is not None and self.over is None:
            raise ValueError("solver.sparse must be null where the number of steps has no limit; or set steps=")
        if as_team(team).draws_graphs:
            return self._anneal(profile, cast(BayesNetPolicy, team), responder, after)
        if self.sparse is not None:
            raise ValueError("solver.sparse must be null with policy=table, whose edges stay as they are")
        return SelfPlay().solve(profile, responder, runner, after)

    def _anneal(self, profile: Profile, team: BayesNetPolicy, responder: Responder, after: int) -> Iterator[Progress]:
        for iteration in count(after + 1):
            team.set_density(self.density(responder.work["steps"]))
            step = responder.respond(profile)
            graphs = torch.cat([trajectory.draws["parents"] for trajectory in step.batch])
            yield Progress(iteration, profile, step.metrics | measure_graphs(team, graphs), step.work)


def measure_graphs(team: BayesNetPolicy, graphs: Tensor) -> Metrics:
    """Returns the share of all possible edges that graphs (T, B, P, P) of T * B decisions have, and that of each edge.

    `edge/0/1` is the share of decisions in which seat 1 saw the action of seat 0.
    """
    shares = graphs.float().mean((0, 1)).cpu()
    edges = {f"edge/{parent}/{child}": shares[child, parent].item() for parent, child in team.graph.edges}
    return {"density": openness(shares).item()} | edges
