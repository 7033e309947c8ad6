"""Payoffs and regrets of strategies in games in normal form.

Payoffs are an array (P, A, B, …): payoffs[p, a, b, …] is what player p earns if player 0 plays a, player 1 plays b and
so on. Strategies are a list of P distributions, (A,), (B,), ….
"""

from collections.abc import Sequence

import numpy as np

from marl_engine.numerics.checks import check_distributions, check_finite

Strategies = list[np.ndarray]


def uniform_strategies(payoffs: np.ndarray) -> Strategies:
    """Returns uniform strategies."""
    return [np.full(actions, 1 / actions) for actions in payoffs.shape[1:]]


def values(payoffs: np.ndarray, strategies: Sequence[np.ndarray], player: int) -> np.ndarray:
    """Returns what each action earns a player (its A,) if the others play their strategies."""
    value = payoffs[player]
    for strategy in reversed(strategies[player + 1 :]):
        value = value @ strategy
    for strategy in strategies[:player]:
        value = strategy @ value.reshape(len(strategy), -1)
    return value.ravel()


def pair_values(payoffs: np.ndarray, strategies: Sequence[np.ndarray], player: int, other: int) -> np.ndarray:
    """Returns what each pair of actions of a player and one other player earns the first of them.

    The result is (its A, the other's A); all others play their strategies.
    """
    value = np.moveaxis(payoffs[player], (player, other), (0, 1))
    for third in reversed(range(len(strategies))):
        if third not in (player, other):
            value = value @ strategies[third]
    return value


def regrets(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> np.ndarray:
    """Returns what a best response gains each player (P,): max over a of u_p(a, others) - u_p(own, others)."""
    payoffs = subtract_least(payoffs)  # constants cost no precision
    action_values = (values(payoffs, strategies, player) for player in range(len(payoffs)))
    return np.array([earns.max() - own @ earns for own, earns in zip(strategies, action_values, strict=True)])


def nash_conv(payoffs: np.ndarray, strategies: Sequence[np.ndarray]) -> float:
    """Returns the sum of all regrets, which is 0 exactly at equilibria. Raises ValueError for invalid strategies."""
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
    """Returns payoffs shifted and scaled to [0, 1] for each player: the same equilibria, with comparable regrets.

    A player with constant payoffs has zeros. Raises ValueError unless payoffs are (P, A, B, …) and finite.
    """
    above = subtract_least(payoffs)
    width = measure_ranges(above)
    return np.divide(above, width, out=np.zeros_like(above), where=width > 0)


def scale_by_widest(payoffs: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns payoffs with minimum 0 for each player, divided by the widest range of a player; and that range.

    The range is 1 if all payoffs are constant. Raises ValueError like `in_range`.
    """
    above = subtract_least(payoffs)
    widest = float(measure_ranges(above).max()) or 1.0
    return above / widest, widest


def subtract_least(payoffs: np.ndarray) -> np.ndarray:
    """Returns payoffs minus each player's smallest one, (P, A, B, …). Raises ValueError like `in_range`."""
    payoffs = check_payoffs(payoffs)
    with np.errstate(over="ignore"):
        above = payoffs - payoffs.min(tuple(range(1, payoffs.ndim)), keepdims=True)
    check_finite("the differences between payoffs", above)
    return above


def measure_ranges(above: np.ndarray) -> np.ndarray:
    """Returns the largest value of each player, (P, 1, 1, …), of payoffs with minimum 0."""
    return above.max(tuple(range(1, above.ndim)), keepdims=True)


def check_payoffs(payoffs: np.ndarray) -> np.ndarray:
    """Returns payoffs as float64. Raises ValueError unless they are (P, A, B, …) and finite."""
    check_finite("payoffs", payoffs)
    payoffs = np.asarray(payoffs, float)
    if payoffs.ndim < 2 or payoffs.shape[0] != payoffs.ndim - 1 or payoffs.size == 0:
        raise ValueError(f"payoffs must have the shape (P, actions of each of the P seats), not {payoffs.shape}")
    return payoffs
