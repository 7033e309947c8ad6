"""Preferences of a population: raters with consistent tastes, and how often one answer is preferred to another.

There are K raters and A answers. A single rater follows a Bradley-Terry model (1952) and has no cycles; a population
can have cycles (Condorcet 1785), so its preferences define a game but no reward (Munos et al. 2023, arXiv:2312.00886,
section 3).
"""

from collections.abc import Sequence

import numpy as np

from marl_engine.numerics.checks import check_distributions, check_finite, check_number


def population_preference(scores: np.ndarray, shares: np.ndarray, temperature: float) -> np.ndarray:
    """Returns P[a, b] = sum over raters of share / (1 + exp((score[b] - score[a]) / temperature)), (A, A).

    Scores are (K, A), shares (K,). At temperature 0 a rater always prefers the higher score, and chooses equal ones at
    random.
    """
    margin = scores[:, :, None] - scores[:, None, :]
    likes = np.sign(margin) if temperature == 0 else np.tanh(margin / (2 * temperature))
    return 0.5 + 0.5 * np.tensordot(shares, likes, 1)


def population(
    raters: int, answers: int, draw: int, scores: Sequence[Sequence[float]] | None, shares: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores (K, A) and shares (K,) of raters. Raises ValueError.

    Without `scores` they are drawn from N(0, 1) by the seed `draw`; without `shares` they are equal.
    """
    for name, number, least in (("raters", raters, 1), ("answers", answers, 2), ("draw", draw, 0)):
        check_number(f"game.{name}", number, least=least, whole=True)
    if scores is not None and (len({len(row) for row in scores}) != 1 or len(scores[0]) < 2):
        raise ValueError("game.scores must be a list of as many numbers, 2 or more, for each rater")
    score = (
        np.random.default_rng(draw).standard_normal((raters, answers)) if scores is None else np.array(scores, float)
    )
    check_finite("game.scores", score)
    return score, rater_shares(shares, len(score), "game.shares")


def rater_shares(shares: Sequence[float] | None, raters: int, key: str) -> np.ndarray:
    """Returns the shares (K,) of raters; None: equal shares. Raises ValueError.

    `key` is the name of the option in error messages.
    """
    result = np.full(raters, 1 / raters) if shares is None else np.array(shares, float)
    if result.shape != (raters,):
        raise ValueError(f"{key} must be {raters} numbers, one for each rater, that sum to 1, not {shares}")
    check_distributions(key, result)
    return result / result.sum()
