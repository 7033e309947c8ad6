"""Who meets whom in a league: prioritised fictitious self-play (PFSP), and win rates that forget.

Vinyals et al. 2019, "Grandmaster level in StarCraft II using multi-agent reinforcement learning", Nature 575:350,
methods. A learner i meets member j with probability proportional to f(P[i beats j]).
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

POWER = 2.0  # p of `f_hard`


def f_hard(win_rates: np.ndarray, power: float = POWER) -> np.ndarray:
    """Returns (1 - x)^p: the harder a member is to beat the more, and 0 for those that never win."""
    return (1 - win_rates) ** power


def f_var(win_rates: np.ndarray) -> np.ndarray:
    """Returns x (1 - x): members of about the same strength, which suits a learner that loses to most."""
    return win_rates * (1 - win_rates)


def prioritise(win_rates: np.ndarray, weigh: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns the probabilities (n,) to meet members with win rates (n,); uniform if `weigh` is 0 for all."""
    weights = weigh(np.asarray(win_rates, dtype=float))
    if not weights.sum() > 0:
        weights = np.ones(len(weights))
    shares: np.ndarray = weights / weights.sum()
    return shares


def count_wins(payoffs: Sequence[Tensor]) -> float:
    """Returns how often a learner wins, from payoffs (N, 2) of games in which it plays seat 0, then seat 1.

    A draw is half a win.
    """
    gaps = [(each[:, seat] - each[:, 1 - seat]).sign() for seat, each in enumerate(payoffs)]
    return float(np.mean([(gap.double().mean().item() + 1) / 2 for gap in gaps]))


class WinRates:
    """Estimates of P[i beats j] for one learner i against members j, which forget old results.

    Each counts as a prior of half a win in one match, and every new match multiplies the weight of older ones by
    `decay`.
    """

    STATE = ("wins", "matches")

    def __init__(self, decay: float = 0.5):
        self.decay = decay
        self.wins: list[float] = []
        self.matches: list[float] = []

    def record(self, results: Sequence[float], first: int = 0) -> None:
        """Adds a match against each member from number `first` on: the share of games won. Unknown members are new."""
        new = first + len(results) - len(self.wins)
        self.wins, self.matches = [*self.wins, *[0.0] * new], [*self.matches, *[0.0] * new]
        self.wins[first:] = [self.decay * old + result for old, result in zip(self.wins[first:], results, strict=True)]
        self.matches[first:] = [self.decay * old + 1 for old in self.matches[first:]]

    def rates(self) -> np.ndarray:
        """Returns the estimates (n,)."""
        return (np.array(self.wins) + 0.5) / (np.array(self.matches) + 1)
