"""The state of CFR and the rule by which it changes, for compiled loops."""

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """The state of the algorithm; arrays are (S,) unless noted."""

    strategy: np.ndarray
    plan: np.ndarray  # realization plan of the strategy
    regret: np.ndarray
    total: np.ndarray  # weighted sum of plans
    value: np.ndarray  # working memory: zero between updates
    normaliser: np.ndarray  # (I,) sums of positive regrets
    opponent_plan: np.ndarray  # the plan that all players respond to if not `alternating`


class Rule(NamedTuple):
    """How regrets are accumulated, as numbers for the compiled loop. An infinite exponent means no discount."""

    alpha: float
    beta: float
    gamma: float
    floor: int
    predict: int
