"""What the players of a game in normal form earn, and what they would gain by changing their minds.

Payoffs are an array (P, A, B, …): payoffs[p, a, b, …] is what player p earns when player 0 plays a, player 1 plays b
and so on. Strategies are a list of P distributions, (A,), (B,), ….
"""

from collections.abc import Sequence

import numpy as np

from marl_engine.numerics.checks import check_distributions, check_finite

Strategies = list[np.ndarray]


def uniform(payoffs: np.ndarray) -> Strategies:
    """Every action alike."""
    return [np.full(actions, 1 / actions) for actions in payoffs.shape[1:]]


def values(payoffs: np.ndarray, strategies: Sequence[np.ndarray], player: int) -> np.ndarray:
    """What each action earns a player (its A,) when the others play their strategies."""
    found = payoffs[player]
    for theirs in reversed(strategies[player + 1 :]):
        found = found @ theirs
    for theirs in strategies[:player]:
        found = theirs @ found.reshape(len(theirs), -1)
    return found.ravel()


def pair_values(payoffs: np.ndarray, strategies: Sequence[np.ndarray], player: int, other: int) -> np.ndarray:
    """The same for each action of a player and each of one other, (its A, the other's A)."""
    found = np.moveaxis(payoffs[player], (player, other), (0, 1))
    for third in reversed(range(len(strategies))):
        if third not in (player, other):
            found = found @ strategies[third]
    return found


def regrets(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> np.ndarray:
    """What a best response gains each player (P,): max over a of u_p(a, others) - u_p(own, others)."""
    payoffs = subtract_least(payoffs)  # what a player earns in any case costs no digits
    found = (values(payoffs, strategies, player) for player in range(len(payoffs)))
    return np.array([value.max() - own @ value for own, value in zip(strategies, found, strict=True)])


def nash_conv(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> float:
    """The sum of all regrets; 0 at an equilibrium and nowhere else. Raises ValueError for strategies that are none."""
    check_strategies(payoffs, strategies)
    return float(regrets(payoffs, strategies).sum())


def check_strategies(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> None:
    """Raises ValueError unless strategies are a distribution for each player of a game (P, A, B, …)."""
    shapes, counts = [np.shape(each) for each in strategies], np.shape(payoffs)[1:]
    if shapes != [(count,) for count in counts]:
        raise ValueError(f"strategies must have {list(counts)} chances, player by player, not {shapes}")
    for player, strategy in enumerate(strategies):
        check_distributions(f"the strategy of player {player}", strategy)


def in_range(payoffs: np.ndarray) -> np.ndarray:
    """Payoffs of each player moved and scaled to [0, 1]: the same equilibria, and regrets that can be compared.

    A player to whom nothing matters has zeros. Raises ValueError for payoffs that are not (P, A, B, …) and finite.
    """
    above = subtract_least(payoffs)
    width = measure_ranges(above)
    return np.divide(above, width, out=np.zeros_like(above), where=width > 0)


def scale_by_widest(payoffs: np.ndarray) -> tuple[np.ndarray, float]:
    """Payoffs of each player moved to 0 and all divided by one number, the widest range of a player; and that number.

    1 where nothing matters to anybody. Raises ValueError as `in_range`.
    """
    above = subtract_least(payoffs)
    widest = float(measure_ranges(above).max()) or 1.0
    return above / widest, widest


def subtract_least(payoffs: np.ndarray) -> np.ndarray:
    """What each player earns above the least that it can earn, (P, A, B, …). Raises ValueError as `in_range`."""
    payoffs = check_payoffs(payoffs)
    with np.errstate(over="ignore"):
        above = payoffs - payoffs.min(tuple(range(1, payoffs.ndim)), keepdims=True)
    check_finite("the differences between payoffs", above)
    return above


def measure_ranges(above: np.ndarray) -> np.ndarray:
    """The most of each player, (P, 1, 1, …), of payoffs above its least."""
    return above.max(tuple(range(1, above.ndim)), keepdims=True)


def check_payoffs(payoffs: np.ndarray) -> np.ndarray:
    """Payoffs as float64. Raises ValueError for payoffs that are not (P, A, B, …) and finite."""
    check_finite("payoffs", payoffs)
    payoffs = np.asarray(payoffs, float)
    if payoffs.ndim < 2 or payoffs.shape[0] != payoffs.ndim - 1 or payoffs.size == 0:
        raise ValueError(f"payoffs must have the shape (P, actions of each of the P seats), not {payoffs.shape}")
    return payoffs
