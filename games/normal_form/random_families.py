"""Random games in normal form. Each family is a formula; all numbers come from one generator.

GENERAL families have any number of players. SYMMETRIC families have two players with the same actions, who earn M[a, b]
and M[b, a]; if M is antisymmetric, the game is zero-sum with value 0. Shapes: P players, A actions.
"""

from collections.abc import Callable
from math import isqrt

import numpy as np
from numpy.random import Generator

from marl_engine.numerics.checks import check_number

LARGEST = 1_000_000  # combinations of actions


def uniform(generator: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Payoffs (P, A, …) ~ U(-1, 1), all independent."""
    return generator.uniform(-1, 1, shape)


def normal(generator: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Payoffs (P, A, …) ~ N(0, 1), all independent."""
    return generator.standard_normal(shape)


def zero_sum(generator: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Payoffs (P, A, …) ~ N(0, 1) with sum 0 over players.

    They are independent numbers, minus their mean over players, times sqrt(P / (P - 1)).
    """
    free = normal(generator, shape)
    return (free - free.mean(0)) * np.sqrt(shape[0] / (shape[0] - 1))


def team(generator: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Payoffs (P, A, …) ~ N(0, 1), the same for all players."""
    return np.broadcast_to(generator.standard_normal(shape[1:]), shape).copy()


def symmetric(generator: Generator, actions: int) -> np.ndarray:
    """M ~ N(0, 1), not zero-sum."""
    return generator.standard_normal((actions, actions))


def antisymmetric(generator: Generator, actions: int) -> np.ndarray:
    """(W - W') / sqrt(2) with W ~ N(0, 1)."""
    free = symmetric(generator, actions)
    return (free - free.T) / np.sqrt(2)


def transitive(generator: Generator, actions: int) -> np.ndarray:
    """Elo: 2 / (1 + exp(r[b] - r[a])) - 1 with ratings r ~ N(0, 1). The highest rating dominates all others."""
    rating = generator.standard_normal(actions)
    return np.tanh((rating[:, None] - rating) / 2)


def cyclic(generator: Generator, actions: int) -> np.ndarray:
    """An antisymmetric M without its transitive part: M[a, b] - m[a] + m[b], with m the means of rows.

    This is the cyclic part of its Hodge decomposition (Balduzzi et al. 2019, arXiv:1901.08106). The uniform strategy is
    an equilibrium.
    """
    matrix = antisymmetric(generator, actions)
    mean = matrix.mean(1)
    return matrix - mean[:, None] + mean


def disc(generator: Generator, actions: int) -> np.ndarray:
    """x[a] y[b] - y[a] x[b] with (x, y) uniform on the unit disc (Balduzzi et al. 2019, arXiv:1901.08106)."""
    radius, angle = np.sqrt(generator.uniform(size=actions)), generator.uniform(0, 2 * np.pi, actions)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.outer(x, y) - np.outer(y, x)


def skill(generator: Generator, actions: int) -> np.ndarray:
    """(W[a, b] - W[b, a]) / 2 + s[a] - s[b] with W, s ~ N(0, 1): a random game of skill, partly cyclic, partly
    transitive.

    Czarnecki et al. 2020, arXiv:2004.09468.
    """
    free, strength = symmetric(generator, actions), generator.standard_normal(actions)
    return (free - free.T) / 2 + strength[:, None] - strength


def blotto(generator: Generator, actions: int) -> np.ndarray:
    """sum over three fields f of v[f] sign(soldiers[a, f] - soldiers[b, f]), with v ~ U(0, 1) scaled to sum 1.

    The A = (n + 1) (n + 2) / 2 actions are all distributions of n soldiers (Borel 1921). Raises ValueError if A does
    not have this form.
    """
    soldiers = (isqrt(8 * actions + 1) - 3) // 2
    if actions != (soldiers + 1) * (soldiers + 2) // 2:
        raise ValueError(f"game.actions of family=blotto must be one of 3, 6, 10, 15, 21, 28, …, not {actions}")
    sent = np.array([(i, j, soldiers - i - j) for i in range(soldiers + 1) for j in range(soldiers + 1 - i)])
    value = generator.uniform(size=3)
    return np.sign(sent[:, None] - sent) @ (value / value.sum())


GENERAL: dict[str, Callable[[Generator, tuple[int, ...]], np.ndarray]] = {
    "uniform": uniform,
    "normal": normal,
    "zero_sum": zero_sum,
    "team": team,
}
SYMMETRIC: dict[str, Callable[[Generator, int], np.ndarray]] = {
    "symmetric": symmetric,
    "antisymmetric": antisymmetric,
    "transitive": transitive,
    "cyclic": cyclic,
    "disc": disc,
    "skill": skill,
    "blotto": blotto,
}


def draw_game(family: str, players: int, actions: int, draw: int) -> np.ndarray:
    """Returns the payoffs (P, A, …) of game number `draw` of a family. Raises ValueError for invalid parameters."""
    if family not in GENERAL and family not in SYMMETRIC:
        raise ValueError(f"game.family must be one of {', '.join([*GENERAL, *SYMMETRIC])}, not {family!r}")
    for name, number, least in (("players", players, 2), ("actions", actions, 2), ("draw", draw, 0)):
        check_number(f"game.{name}", number, least=least, whole=True)
    if actions**players > LARGEST:
        raise ValueError(f"{actions} actions of {players} players are more than {LARGEST:,} combinations")
    generator = np.random.default_rng(draw)
    if family in GENERAL:
        return GENERAL[family](generator, (players, *[actions] * players))
    if players != 2:
        raise ValueError(f"game.players must be 2 for family={family}, not {players}; more have {', '.join(GENERAL)}")
    matrix = SYMMETRIC[family](generator, actions)
    return np.stack([matrix, matrix.T])
