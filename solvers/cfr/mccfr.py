"""Monte Carlo counterfactual regret minimisation: CFR on samples of the game tree.

Lanctot et al. 2009, "Monte Carlo Sampling for Regret Minimization in Extensive Games". In turn each player traverses
the tree with external or outcome sampling (see `tree_sampling`) and adds the sampled regrets to its own. Its next
strategy is proportional to the positive regrets. The average strategy converges at rate 1 / sqrt(traversals). Random
numbers depend only on the seed and the number of the traversal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from marl_engine.capabilities import TreeGame, capabilities_of, lack_of
from marl_engine.extensive_form.paths import paths
from marl_engine.extensive_form.sequence_form import behavior_strategy, realization_plan
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.state import resume_field
from marl_engine.policies.tabular import fill_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Runner, Work
from solvers.cfr.cfr import measure_both
from solvers.cfr.tree_sampling import allocate_state, traverse

SAMPLING = ("external", "outcome")
NO_UNIFORMS = np.empty(0)


@dataclass
class MCCFR:
    """Monte Carlo CFR; see above. Yields the average strategy.

    The metric `nash_conv/last` is that of the current strategy. Work is counted in visited nodes of the tree.
    Raises ValueError for numbers out of range, for a responder that is not exact, and for a game without a tree.
    """

    STATE = ("learned",)

    sampling: str = "external"
    exploration: float = 0.6  # epsilon of outcome sampling
    traversals: int = 1000  # of each player in an iteration; its strategy changes after each of them

    def __post_init__(self) -> None:
        check_choices("solver", self, sampling=SAMPLING)
        check_fields("solver", self, "exploration", above=0, most=1)
        check_fields("solver", self, "traversals", least=1, whole=True)
        self.learned: np.ndarray | None = None  # (2, S) regrets, and sums of strategies

    def solve(
        self, profile: Profile, responder: ExactResponder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The policies of the profile must be tables, and the game must have a tree."""
        game = capabilities_of(responder.game).tree
        if game is None:
            raise ValueError(lack_of(responder.game, TreeGame, type(self).__name__))
        return self._solve(game.tree, profile, responder, after)

    def _solve(self, tree: Any, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        form = responder.form
        tree_paths = paths(tree, form)
        tree_paths = tree_paths._replace(payoff=tree_paths.payoff - form.centre)
        regret, total = learned = resume_field(self, "learned", np.zeros((2, form.sequences)), after)
        tables = allocate_state(*learned)
        exploration = self.exploration if self.sampling == "outcome" else 0.0
        seed, share = responder.seed, self.traversals * form.players
        for iteration in count(after + 1):
            first = (iteration - 1) * share
            nodes = traverse(tree_paths, tables, exploration, seed, first, share, NO_UNIFORMS)
            average = behavior_strategy(form, total)
            fill_tables(profile, average)
            current = realization_plan(form, behavior_strategy(form, np.maximum(regret, 0)))  # regret matching
            yield Progress(iteration, profile, measure_both(form, average, current), Work(nodes=nodes))
