"""Elo ratings by maximum likelihood in the model of Bradley and Terry, and Elo with further dimensions for cycles.

In games of more than two entrants the model is that of Plackett and Luce; see `plackett_luce`.

P(i beats j) = 1 / (1 + exp(-(r_i - r_j))), with r in units of 400 / ln 10 points (Elo 1978; Bradley and Terry 1952). A
draw counts as half a win for both. The likelihood is concave and is maximised by Newton's method. It has a finite
maximum if and only if no group of entrants won every game against all others (Ford 1957). If one did, every entrant is
given one further game, a draw against a fixed opponent of average strength; the rating is then a bound.

Multidimensional Elo (Balduzzi et al. 2018, arXiv:1806.02643, section 4): logit P = r_i - r_j + c_i' W c_j with W
antisymmetric. It is computed here from the logits of all pairs, of which r are the row means and the vectors c come
from the largest singular values of the rest; these come in equal pairs.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from marl_engine.ratings.plackett_luce import derive, list_choices
from marl_engine.ratings.results import WIDTH, Rating, Results

POINTS = 400 / np.log(10)  # of Elo, for one unit of log-odds
FURTHER_DRAWS = 1.0  # games against an average opponent, if some entrant won or lost all its games
LONGEST_STEP = 4.0  # of Newton's method, in log-odds
STEPS, CLOSE = 200, 1e-10
MEANING = (
    "Maximum-likelihood Elo: 400 points more mean odds of 10 to 1. The mean of all entrants is 0. It predicts each "
    "pair from one number for each entrant, so it cannot describe a cycle."
)


def rate_elo(results: Results) -> Rating:
    """Returns Elo ratings; the intervals are those of the likelihood's curvature, and zero for exact results."""
    score = np.where(results.met, results.wins + results.draws / 2, 0.0)
    group, open_ended = find_groups(score)
    slopes = partial(derivatives, score=score, games=score + score.T)
    if results.lineups is not None:
        slopes = partial(derive, choices=list_choices(results.lineups))
    rating, error = fit(slopes, group, FURTHER_DRAWS if open_ended else 0.0)
    alone = np.bincount(group)[group] == 1
    rating, error = np.where(alone, np.nan, rating), np.where(alone, np.nan, 0.0 if results.exact else error)
    value, width = POINTS * rating, POINTS * WIDTH * error
    return Rating(
        "elo", "Elo", MEANING, value, value - width, value + width, tuple(remarks(results, group, open_ended))
    )


def remarks(results: Results, group: np.ndarray, open_ended: bool) -> list[str]:
    """Returns what a reader must know of these ratings."""
    notes = []
    if group.max(initial=0) > 0:
        count = group.max() + 1
        notes.append(f"There are {count} groups that have not met each other; Elo compares within a group only.")
    if open_ended:
        lost, won = results.wins.T, results.wins
        perfect = [
            name
            for name, wins, losses, games in zip(
                results.names, won.sum(1), lost.sum(1), np.where(results.met, results.games, 0).sum(1), strict=True
            )
            if games and games in (wins, losses)
        ]
        who = f" ({', '.join(perfect[:5])}{', …' if len(perfect) > 5 else ''})" if perfect else ""
        notes.append(
            f"Some entrants won or lost every game{who}, so their maximum-likelihood ratings are infinite. One draw "
            "against an average opponent was added for everybody; read these ratings as bounds."
        )
    return notes


def find_groups(score: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns the group (N,) of each entrant, and whether the likelihood of scores (N, N) has no finite maximum.

    Groups have not met each other. The maximum is finite if every group is strongly connected by "scored against".
    """
    from scipy.sparse.csgraph import connected_components

    groups, group = connected_components(score + score.T > 0, directed=False)
    parts, _ = connected_components(score > 0, directed=True, connection="strong")
    return group, parts > groups


Slopes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""The gradient (N,) of a log-likelihood at ratings (N,), and the Fisher information (N, N)."""


def fit(slopes: Slopes, group: np.ndarray, further: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns ratings (N,) in log-odds of the largest likelihood, and their standard errors.

    The mean of each group is 0. Everybody has `further` draws against an opponent of rating 0.
    """
    same = group[:, None] == group
    centre = same / np.bincount(group)[group]
    rating = np.zeros(len(group))
    for _ in range(STEPS):
        gradient, information = with_further_draws(slopes, rating, further)
        step = np.linalg.solve(information + centre, gradient - centre @ rating * (further == 0))
        rating = rating + step * min(1.0, LONGEST_STEP / max(np.abs(step).max(initial=0.0), 1e-300))
        if np.abs(step).max(initial=0.0) < CLOSE:
            break
    _, information = with_further_draws(slopes, rating, further)
    variance = np.diagonal(np.linalg.inv(information + centre)) - np.diagonal(centre) * (further == 0)
    return rating - centre @ rating, np.sqrt(np.maximum(variance, 0.0))


def with_further_draws(slopes: Slopes, rating: np.ndarray, further: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `slopes` returns, with `further` draws of everybody against an opponent of rating 0."""
    gradient, information = slopes(rating)
    own = win_chances(rating)
    return gradient - further * (own - 0.5), information + np.diag(further * own * (1 - own))


def derivatives(rating: np.ndarray, score: np.ndarray, games: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slopes for scores (N, N), wins and half of the draws, and numbers of games."""
    chance = win_chances(rating[:, None] - rating)
    weight = games * chance * (1 - chance)
    return (score - games * chance).sum(1), np.diag(weight.sum(1)) - weight


def win_chances(log_odds: np.ndarray) -> np.ndarray:
    """Returns the probabilities of log-odds."""
    return 0.5 * (1 + np.tanh(log_odds / 2))


def smoothed_logits(results: Results) -> np.ndarray:
    """Returns log-odds of winning (N, N), with half a win added for both; 0 on the diagonal.

    Raises ValueError unless all have met.
    """
    others = ~np.eye(len(results.names), dtype=bool)
    if not results.met[others].all():
        raise ValueError("not all entrants have met each other")
    share = (results.wins + results.draws / 2 + 0.5) / (results.games + 1)
    return np.where(others, np.log(share) - np.log1p(-share), 0.0)


def decompose(logits: np.ndarray, pairs: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns r (N,), vectors c (N, 2k) and W (2k, 2k) of multidimensional Elo with k = `pairs`, for logits (N, N)."""
    rating = logits.mean(1)
    rest = logits - (rating[:, None] - rating)
    left, sizes, _ = np.linalg.svd(rest)
    basis = left[:, : 2 * pairs]
    scale = np.sqrt(sizes[: 2 * pairs])
    vectors = basis * scale
    with np.errstate(invalid="ignore", divide="ignore"):
        form = np.nan_to_num((basis.T @ rest @ basis) / np.outer(scale, scale), posinf=0.0, neginf=0.0)
    return rating, vectors, form


def rate_cyclic_elo(results: Results) -> Rating:
    """Returns the transitive part r of multidimensional Elo, and in the notes how well both kinds predict results."""
    none = np.full(len(results.names), np.nan)
    meaning = (
        "Transitive part of Elo with two further dimensions for a cycle: it is not distorted by opponents whom an "
        "entrant beats because of its style."
    )
    try:
        logits = smoothed_logits(results)
    except ValueError as error:
        return Rating("melo", "mElo", meaning, none, none, none, (f"It is not computed: {error}.",))
    rating, vectors, form = decompose(logits)
    observed = win_chances(logits)
    plain = win_chances(rating[:, None] - rating)
    cyclic = win_chances(rating[:, None] - rating + vectors @ form @ vectors.T)
    errors = [np.abs(each - observed)[results.met].mean() if len(none) > 1 else 0.0 for each in (plain, cyclic)]
    note = (
        f"Mean error of predicted win rates: {errors[0]:.3f} without, {errors[1]:.3f} with the dimensions for a cycle."
    )
    return Rating("melo", "mElo", meaning, POINTS * rating, none, none, (note,))
