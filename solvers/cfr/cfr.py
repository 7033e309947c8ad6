"""Counterfactual regret minimisation: each information set plays actions in proportion to their positive regrets.

With r the regret of iteration t, R the accumulated regret, and [x]+ = max(x, 0), for each information set separately:

    R = R + r            or [R + r]+ with `floor`
    R = R * t^a/(t^a+1)  with a = `alpha` where R is positive, a = `beta` where it is negative
    next strategy ~ [R]+ or [R + r]+ with `predict`: r predicts the next regret
    average += t^gamma * plan

    | name   | floor | alpha | beta | predict | gamma | source                                    |
    |--------|-------|-------|------|---------|-------|-------------------------------------------|
    | CFR    |       |       |      |         | 0     | Zinkevich et al. 2007                     |
    | CFR+   | yes   |       |      |         | 1     | Tammelin 2014, arXiv:1407.5042            |
    | linear |       | 1     | 1    |         | 1     | Brown and Sandholm 2019, arXiv:1809.04040 |
    | DCFR   |       | 1.5   | 0    |         | 2     | the same, section 4                       |
    | PCFR+  | yes   |       |      | yes     | 2     | Farina et al. 2021, arXiv:2007.14358      |
    | PDCFR+ | yes   | 2.3   |      | yes     | 5     | Xu et al. 2024, arXiv:2404.13891          |

With `alternating`, players are updated in turn, each against the current strategies of the others; without it, all at
once. The average is taken over plans (sequence form), not strategies. The average converges.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    behavior_strategy,
    nash_conv,
    realization_plan,
    sequence_payoff,
    uniform_strategy,
)
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.state import resume_field
from marl_engine.policies.tabular import fill_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Profile, Progress, Runner, Work
from solvers.cfr.state import Rule, State
from solvers.cfr.torch_cfr import make_iterate


@compile_inline
def discount(exponent, iteration):
    """Returns t^a / (t^a + 1)."""
    return 1.0 if exponent == np.inf else iteration**exponent / (iteration**exponent + 1)


@compile_inline
def regret_matching(form, rule, state, plan, infoset, keep, forget):
    """Updates regrets in one information set and writes the next strategy, not yet divided by its `normaliser`.

    Returns the value of the last strategy.
    """
    start, stop = form.first[infoset], form.first[infoset + 1]
    mean = 0.0
    for sequence in range(start, stop):
        state.value[sequence] += sequence_payoff(form, plan, sequence)
        mean += state.strategy[sequence] * state.value[sequence]
    normaliser = 0.0
    for sequence in range(start, stop):
        instant = state.value[sequence] - mean
        regret = state.regret[sequence] + instant
        if rule.floor:
            regret = max(regret, 0.0)
        regret *= keep if regret > 0 else forget
        prediction = max(regret + instant if rule.predict else regret, 0.0)
        state.regret[sequence], state.strategy[sequence], state.value[sequence] = regret, prediction, 0.0
        normaliser += prediction
    state.normaliser[infoset] = normaliser
    return mean


@compile_inline
def update(form, rule, state, plan, player, iteration):
    """Updates a player's strategy against the plan of the others, and adds its old plan to the average."""
    keep, forget = discount(rule.alpha, iteration), discount(rule.beta, iteration)
    for infoset in range(form.begin[player + 1] - 1, form.begin[player] - 1, -1):
        state.value[form.parent[infoset]] += regret_matching(form, rule, state, plan, infoset, keep, forget)
    state.value[player] = 0.0
    weight = iteration**rule.gamma
    for infoset in range(form.begin[player], form.begin[player + 1]):
        reach, normaliser = state.plan[form.parent[infoset]], state.normaliser[infoset]
        start, stop = form.first[infoset], form.first[infoset + 1]
        for sequence in range(start, stop):
            chance = state.strategy[sequence] / normaliser if normaliser > 0 else 1 / (stop - start)
            state.strategy[sequence] = chance
            state.total[sequence] += weight * state.plan[sequence]
            state.plan[sequence] = reach * chance


@compile_loop
def iterate(form, rule, state, after, count, alternating):
    """Runs iterations `after` + 1 to `after` + `count`.

    If `alternating` is 0, all players respond to the same plan.
    """
    opponent_plan = state.plan
    for iteration in range(after + 1, after + count + 1):
        if alternating == 0:
            opponent_plan = state.opponent_plan
            for sequence in range(opponent_plan.size):
                opponent_plan[sequence] = state.plan[sequence]
        for player in range(form.begin.size - 1):
            update(form, rule, state, opponent_plan, player, float(iteration))


@dataclass
class CFR:
    """CFR and its variants; see the table above. Yields the average strategy.

    The metric `nash_conv/last` is that of the current strategy. Raises ValueError for negative exponents and for a
    responder that is not exact.
    """

    STATE = ("tables",)

    alpha: float | None = None  # discount of positive regrets; null: none
    beta: float | None = None  # discount of negative regrets; null: none
    gamma: float = 0.0  # weight of iteration t in the average: t^gamma
    floor: bool = False
    predict: bool = False
    alternating: bool = True
    stride: int = 1  # iterations between evaluations of the average; an evaluation takes as long as a few iterations

    def __post_init__(self) -> None:
        exponents = [name for name in ("alpha", "beta", "gamma") if vars(self)[name] is not None]
        check_fields("solver", self, *exponents, least=0)
        check_fields("solver", self, "stride", least=1, whole=True)
        alpha, beta = (np.inf if each is None else each for each in (self.alpha, self.beta))
        self.rule = Rule(alpha, beta, self.gamma, int(self.floor), int(self.predict))
        self.tables: State | None = None

    def solve(
        self, profile: Profile, responder: ExactResponder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The policies of the profile must be tables."""
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        form = responder.form
        tables = resume_field(self, "tables", initial_state(form), after)
        advance = self._advance(form, tables, responder.device)
        for iteration in count(after, self.stride):
            advance(iteration, self.stride)
            average = behavior_strategy(form, tables.total)
            fill_tables(profile, average)
            yield Progress(
                iteration + self.stride, profile, measure_both(form, average, tables.plan), Work(queries=self.stride)
            )

    def _advance(self, form: SequenceForm, state: State, device: str) -> Callable[[int, int], None]:
        """Returns a function (after, count) that runs iterations."""
        if device != "cpu":
            return make_iterate(form, self.rule, state, self.alternating, device)
        return lambda after, count: iterate(form, self.rule, state, after, count, int(self.alternating))


def measure_both(form: SequenceForm, average: np.ndarray, plan: np.ndarray) -> Metrics:
    """Returns the NashConv of an average strategy (S,), and that of the current plan (S,)."""
    mean, last = nash_conv(form, realization_plan(form, average)), nash_conv(form, plan)
    return {"nash_conv": mean, "nash_conv/average": mean, "nash_conv/last": last}


def initial_state(form: SequenceForm) -> State:
    """Returns the state before the first iteration: uniform strategies and no regrets."""
    strategy = uniform_strategy(form)
    plan = realization_plan(form, strategy)
    regret, total, value = np.zeros((3, form.sequences))
    return State(strategy, plan, regret, total, value, normaliser=np.zeros(len(form.parent)), opponent_plan=plan.copy())
