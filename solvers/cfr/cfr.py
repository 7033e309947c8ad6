"""Counterfactual regret minimisation: in every information set a player plays what it regrets not having played.

With r the regret of an iteration t, R their sum, and [x]+ = max(x, 0), each information set on its own:

    R = R + r            or [R + r]+ with `floor`
    R = R * t^a/(t^a+1)  with `alpha` where R is positive, `beta` where it is negative
    next strategy ~ [R]+ or [R + r]+ with `predict`: r foretells the next regret
    average += t^gamma * plan

| name    | floor | alpha | beta | predict | gamma | source |
| CFR     |       |       |      |         | 0     | Zinkevich et al. 2007 |
| CFR+    | yes   |       |      |         | 1     | Tammelin 2014, arXiv:1407.5042 |
| linear  |       | 1     | 1    |         | 1     | Brown and Sandholm 2019, arXiv:1809.04040 |
| DCFR    |       | 1.5   | 0    |         | 2     | the same, section 4 |
| PCFR+   | yes   |       |      | yes     | 2     | Farina et al. 2021, arXiv:2007.14358 |
| PDCFR+  | yes   | 2.3   |      | yes     | 5     | Xu et al. 2024, arXiv:2404.13891 |

Players are updated in turn, each against what the others have just become, unless `alternating` is false.
The average is that of plans (sequence form), not of strategies. It is what converges.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch

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
from marl_engine.numerics.state_checks import check_like
from marl_engine.policies.tabular import fill_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.types import Metrics, Profile, Progress, Work
from solvers.cfr.torch_cfr import iterations


class State(NamedTuple):
    """What the players know after so many iterations, (S,) where nothing else is said."""

    strategy: np.ndarray
    plan: np.ndarray  # of the strategy
    regret: np.ndarray
    total: np.ndarray  # weighted sum of plans
    value: np.ndarray  # zeros between updates
    whole: np.ndarray  # (I,) sums of what strategies are proportional to
    before: np.ndarray  # the plan that all players answer, where they move at once


class Rule(NamedTuple):
    """How regrets are kept; numbers, for the compiler. Exponents of infinity keep everything."""

    alpha: float
    beta: float
    gamma: float
    floor: int
    predict: int


@compile_inline
def kept(exponent, iteration):
    """t^a / (t^a + 1)."""
    return 1.0 if exponent == np.inf else iteration**exponent / (iteration**exponent + 1)


@compile_inline
def regret_matching(form, rule, state, plan, infoset, keep, forget):
    """The next strategy in one information set, its `whole` still to be divided by; returns what the last was worth."""
    start, stop = form.first[infoset], form.first[infoset + 1]
    mean = 0.0
    for sequence in range(start, stop):
        state.value[sequence] += sequence_payoff(form, plan, sequence)
        mean += state.strategy[sequence] * state.value[sequence]
    whole = 0.0
    for sequence in range(start, stop):
        instant = state.value[sequence] - mean
        regret = state.regret[sequence] + instant
        if rule.floor:
            regret = max(regret, 0.0)
        regret *= keep if regret > 0 else forget
        ahead = max(regret + instant if rule.predict else regret, 0.0)
        state.regret[sequence], state.strategy[sequence], state.value[sequence] = regret, ahead, 0.0
        whole += ahead
    state.whole[infoset] = whole
    return mean


@compile_inline
def update(form, rule, state, plan, player, iteration):
    """One player learns from what the others' plan makes of its own, and adds its old plan to the average."""
    keep, forget = kept(rule.alpha, iteration), kept(rule.beta, iteration)
    for infoset in range(form.begin[player + 1] - 1, form.begin[player] - 1, -1):
        state.value[form.parent[infoset]] += regret_matching(form, rule, state, plan, infoset, keep, forget)
    state.value[player] = 0.0
    weight = iteration**rule.gamma
    for infoset in range(form.begin[player], form.begin[player + 1]):
        reach, whole = state.plan[form.parent[infoset]], state.whole[infoset]
        start, stop = form.first[infoset], form.first[infoset + 1]
        for sequence in range(start, stop):
            chance = state.strategy[sequence] / whole if whole > 0 else 1 / (stop - start)
            state.strategy[sequence] = chance
            state.total[sequence] += weight * state.plan[sequence]
            state.plan[sequence] = reach * chance


@compile_loop
def iterate(form, rule, state, after, count, alternating):
    """Iterations `after` + 1 to `after` + `count`; `alternating` 0: all players answer the same plan."""
    seen = state.plan
    for iteration in range(after + 1, after + count + 1):
        if alternating == 0:
            seen = state.before
            for sequence in range(seen.size):
                seen[sequence] = state.plan[sequence]
        for player in range(form.begin.size - 1):
            update(form, rule, state, seen, player, float(iteration))


@dataclass
class CFR:
    """Yields the average strategy; `nash_conv/last` in its metrics is that of the current one.

    Raises ValueError for exponents below 0, and for a responder that is not exact.
    """

    alpha: float | None = None  # discount of positive regrets; null: none
    beta: float | None = None  # of negative ones
    gamma: float = 0.0  # weight of iteration t in the average: t^gamma
    floor: bool = False
    predict: bool = False
    alternating: bool = True
    stride: int = 1  # iterations in one go; looking at the average takes as long as a few

    def __post_init__(self) -> None:
        exponents = [name for name in ("alpha", "beta", "gamma") if vars(self)[name] is not None]
        check_fields("solver", self, *exponents, least=0)
        check_fields("solver", self, "stride", least=1, whole=True)
        alpha, beta = (np.inf if each is None else each for each in (self.alpha, self.beta))
        self.rule = Rule(alpha, beta, self.gamma, int(self.floor), int(self.predict))
        self.learned: State | None = None

    def solve(self, profile: Profile, responder: ExactResponder, after: int = 0) -> Iterator[Progress]:
        """See `Solver`. The profile is one of tables."""
        return self._solve(profile, responder, after)

    def _solve(self, profile: Profile, responder: ExactResponder, after: int) -> Iterator[Progress]:
        form = responder.form
        start = fresh(form)
        if after == 0 or self.learned is None:
            self.learned = start
        check_like(tensors_of(self.learned), tensors_of(start), "solver")
        advance = self._advance(form, self.learned, responder.device)
        for before in count(after, self.stride):
            advance(before, self.stride)
            average = behavior_strategy(form, self.learned.total)
            fill_tables(profile, average)
            yield Progress(before + self.stride, profile, self._measured(form, average), Work(queries=self.stride))

    def _advance(self, form: SequenceForm, learned: State, device: str) -> Callable[[int, int], None]:
        """What does the iterations after one, so many."""
        if device != "cpu":
            return iterations(form, self.rule, learned, self.alternating, device)
        return lambda after, count: iterate(form, self.rule, learned, after, count, int(self.alternating))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {} if self.learned is None else tensors_of(self.learned)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.learned = State(**{name: each.numpy().copy() for name, each in state.items()}) if state else None

    def _measured(self, form: SequenceForm, average: np.ndarray) -> Metrics:
        assert self.learned is not None
        mean, last = nash_conv(form, realization_plan(form, average)), nash_conv(form, self.learned.plan)
        return {"nash_conv": mean, "nash_conv/average": mean, "nash_conv/last": last}


def tensors_of(state: State) -> dict[str, torch.Tensor]:
    """The arrays of a state by name, as tensors that share their memory."""
    return {name: torch.from_numpy(each) for name, each in state._asdict().items()}


def fresh(form: SequenceForm) -> State:
    """Before the first iteration: uniform strategies, no regrets."""
    strategy = uniform_strategy(form)
    plan = realization_plan(form, strategy)
    regret, total, value = np.zeros((3, form.sequences))
    return State(strategy, plan, regret, total, value, whole=np.zeros(len(form.parent)), before=plan.copy())
