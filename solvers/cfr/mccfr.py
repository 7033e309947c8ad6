"""Monte Carlo counterfactual regret minimisation: CFR that looks at a sample of the tree instead of all of it.

Lanctot et al. 2009, "Monte Carlo Sampling for Regret Minimization in Extensive Games". Each player in turn traverses
the tree, by external or by outcome sampling (see `sampling`), adds what the sample says of its regrets to them, and
so has its next strategy, which is proportional to their positive part. The average is what converges, at the rate
of 1 / sqrt(traversals). Draws are a function of the seed and of the number of the traversal alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch

from marl_engine.capabilities import TreeGame, capabilities_of, lack_of
from marl_engine.extensive_form.sequence_form import SequenceForm, behavior_strategy, nash_conv, realization_plan
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.state_checks import check_like
from marl_engine.policies.tabular import fill_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.types import Metrics, Profile, Progress, Work
from solvers.cfr.tree_sampling import Learned, learned, paths, traverse

SAMPLING = ("external", "outcome")
LEARNED = ("regret", "total")  # what a checkpoint keeps
NONE_GIVEN = np.empty(0)


@dataclass
class MCCFR:
    """Yields the average strategy; `nash_conv/last` in its metrics is that of the current one.

    Work is counted in nodes of the tree that are touched. Raises ValueError for numbers out of range, for a responder
    that is not exact, and for a game without a tree.
    """

    sampling: str = "external"
    exploration: float = 0.6  # epsilon of outcome sampling
    traversals: int = 1000  # of each player in an iteration; its strategy changes after each of them

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ValueError(f"solver.sampling must be one of {', '.join(SAMPLING)}, not {self.sampling!r}")
        check_fields("solver", self, "exploration", above=0, most=1)
        check_fields("solver", self, "traversals", least=1, whole=True)
        self.learned: Learned | None = None

    def solve(self, profile: Profile, responder: ExactResponder, after: int = 0) -> Iterator[Progress]:
        """See `Solver`. The profile is one of tables, the game one that has a tree."""
        game = capabilities_of(responder.game).tree
        if game is None:
            raise ValueError(lack_of(responder.game, TreeGame, type(self).__name__))
        return self._solve(game.tree, profile, responder, after)

    def _solve(self, tree: Any, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        form = responder.form
        ways = paths(tree, form)
        ways = ways._replace(payoff=ways.payoff - form.centre)
        if after == 0 or self.learned is None:
            self.learned = learned(*np.zeros((2, form.sequences)))
        check_like(self.state(), dict.fromkeys(LEARNED, torch.zeros(form.sequences, dtype=torch.float64)), "solver")
        exploration = self.exploration if self.sampling == "outcome" else 0.0
        seed, share = responder.seed, self.traversals * form.players
        for iteration in count(after + 1):
            begun = (iteration - 1) * share
            nodes = traverse(ways, self.learned, exploration, seed, begun, share, NONE_GIVEN)
            average = behavior_strategy(form, self.learned.total)
            fill_tables(profile, average)
            yield Progress(iteration, profile, self._measured(form, average), Work(nodes=nodes))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        if self.learned is None:
            return {}
        return {name: torch.from_numpy(self.learned._asdict()[name]) for name in LEARNED}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.learned = learned(*(state[name].numpy().copy() for name in LEARNED)) if state else None

    def _measured(self, form: SequenceForm, average: np.ndarray) -> Metrics:
        assert self.learned is not None
        current = behavior_strategy(form, np.maximum(self.learned.regret, 0))  # regret matching
        mean, last = nash_conv(form, realization_plan(form, average)), nash_conv(form, realization_plan(form, current))
        return {"nash_conv": mean, "nash_conv/average": mean, "nash_conv/last": last}
