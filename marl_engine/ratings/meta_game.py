"""Ratings by the game in which the actions are the entrants: Nash averaging and alpha-Rank.

The uncertainty of payoffs is carried into both by the bootstrap of `results.resample`. Nash averaging rates entrants by
the lead in payoff against each other, half of it for each side, so that it is defined for games of any sum. In a team
the entrants are agents and their partners are tasks (Balduzzi et al. 2018, appendix D).
"""

from collections.abc import Callable, Iterable

import numpy as np

from marl_engine.ratings.lineups import draw_means, payoff_places
from marl_engine.ratings.results import Rating, Results, interval, resample
from solvers.normal_form.alpha_rank import alpha_rank, alpha_rank_symmetric, marginals
from solvers.normal_form.nash_averaging import nash_averaging, nash_averaging_tasks

SOLUTIONS = 4000  # bootstrap samples times entrants
ALPHAS = np.geomspace(1e-2, 1e3, 16)  # in units of 1 / the largest gain
STABLE = 1e-3  # distance in total variation below which alpha-Rank counts as unchanged
WEIGHT = "Weight in the maximum-entropy Nash equilibrium of the game of choosing an entrant; copies share one weight."
SKILL = "Mean lead in payoff, halved, over an opponent drawn from that equilibrium; 0 is the best there is."
TASKS = (
    "Payoff with partners drawn from the hardest mixture of partners (maximum-entropy equilibrium, scaled to [0, 1])."
)
AGENTS = "Weight of the entrant in the best mixture of entrants against the hardest mixture of partners."
RANK = (
    "Share of time that a population which imitates what earns more spends with this entrant (alpha-Rank), at the "
    "smallest selection intensity from which on it stays the same."
)
RANK_OF_SEATS = (
    "Share of time that populations, one for each seat, which imitate what earns more spend with this entrant "
    "(alpha-Rank), at the smallest selection intensity from which on it stays the same."
)
NOT_ALL_MET = "It is not computed: not all entrants have met each other."
WITHOUT_COPIES = "It is not computed: it needs games with copies of entrants, which are played if there are few."


def rate_nash(results: Results, seed: int = 0) -> list[Rating]:
    """Returns the weights and the skills of Nash averaging; without numbers unless all have met."""
    others = ~np.eye(len(results.names), dtype=bool)
    titles = (
        ("nash", "Nash weight", AGENTS if results.team else WEIGHT),
        ("skill_nash", "Nash skill", TASKS if results.team else SKILL),
    )
    if not results.met[others].all():
        return [without_numbers(*each, len(results.names)) for each in titles]
    solve = solve_team if results.team else solve_lead
    samples = resample(results, seed, most=max(20, min(200, SOLUTIONS // len(results.names))))
    values = solve(results.payoff)
    ranges = [(each, each) for each in values]
    if not results.exact:
        ranges = [interval(np.array(each)) for each in zip(*map(solve, samples), strict=True)]
    return [Rating(*title, value, *ends) for title, value, ends in zip(titles, values, ranges, strict=True)]


def solve_lead(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and skills (N,) for payoffs (N, N)."""
    lead = (payoff - payoff.T) / 2
    return nash_averaging(np.where(np.eye(len(payoff), dtype=bool), 0.0, lead))


def solve_team(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and skills (N,) of entrants whose tasks are their partners; nobody is its own task."""
    agents, _, skill, _ = nash_averaging_tasks(without_self_play(payoff))
    return agents, skill


def without_self_play(payoff: np.ndarray) -> np.ndarray:
    """Returns payoffs (N, N) with the mean of the rest of the column in place of the diagonal."""
    count = len(payoff)
    rest = np.where(np.eye(count, dtype=bool), 0.0, payoff).sum(0) / max(count - 1, 1)
    return np.where(np.eye(count, dtype=bool), rest, payoff)


def rate_alpha_rank(results: Results, seed: int = 0) -> Rating:
    """Returns the masses of alpha-Rank; without numbers unless all have met, in line-ups also with copies."""
    count, lineups = len(results.names), results.lineups
    draws = max(20, min(200, SOLUTIONS // count))
    if lineups is None:
        title = ("alpha_rank", "α-Rank", RANK)
        if not results.met[~np.eye(count, dtype=bool)].all():
            return without_numbers(*title, count)
        tables = map(prepare, resample(results, seed, most=draws))
        return rate_by_alpha_rank(title, prepare(results.payoff), tables, alpha_rank_symmetric, results.exact)
    title = ("alpha_rank", "α-Rank", RANK_OF_SEATS)
    places = payoff_places(lineups, count)
    if places is None:
        return without_numbers(*title, count, WITHOUT_COPIES)
    samples = (each[places] for each in draw_means(lineups, draws, seed))
    return rate_by_alpha_rank(title, lineups.mean[places], samples, rank_seats, results.exact)


def rate_by_alpha_rank(
    title: tuple[str, str, str],
    payoffs: np.ndarray,
    samples: Iterable[np.ndarray],
    method: Callable[[np.ndarray, float], np.ndarray],
    exact: bool,
) -> Rating:
    """Returns the masses that a method gives to entrants for payoffs and selection intensities, where they settle."""
    scale = largest_gain(payoffs)
    alphas = ALPHAS / scale if scale > 1e-300 else ALPHAS
    masses = np.array([method(payoffs, float(alpha)) for alpha in alphas])
    chosen = find_plateau(masses)
    low = high = value = masses[chosen]
    if not exact:
        low, high = interval(np.array([method(each, float(alphas[chosen])) for each in samples]))
    stays = chosen < len(alphas) - 1
    note = f"Read at alpha = {alphas[chosen]:.3g}" + (
        "." if stays else ", the largest of the sweep: it has not settled."
    )
    return Rating(*title, value, low, high, (note,))


def largest_gain(payoffs: np.ndarray) -> float:
    """Returns what a mutant can gain at most, for payoffs (N, N) of a population, or (P, N, N, …) of seats."""
    if payoffs.ndim == 2:
        return float(np.abs(payoffs - payoffs.T).max(initial=0.0))
    return max(float(np.ptp(each, axis=seat).max(initial=0.0)) for seat, each in enumerate(payoffs))


def prepare(payoff: np.ndarray) -> np.ndarray:
    """Returns payoffs (N, N) with 0 on the diagonal, which alpha-Rank does not use."""
    return np.where(np.eye(len(payoff), dtype=bool), 0.0, payoff)


def rank_seats(payoffs: np.ndarray, alpha: float) -> np.ndarray:
    """Returns the masses (N,) of alpha-Rank with a population for each seat, as means over seats."""
    masses: np.ndarray = np.mean(marginals(alpha_rank(payoffs, alpha)), axis=0)
    return masses


def find_plateau(masses: np.ndarray) -> int:
    """Returns the smallest index from which on all masses (K, N) differ from the last ones by less than `STABLE`."""
    far = np.abs(masses - masses[-1]).sum(1) / 2 >= STABLE
    return int(np.flatnonzero(far)[-1]) + 1 if far.any() else 0


def without_numbers(key: str, title: str, meaning: str, count: int, reason: str = NOT_ALL_MET) -> Rating:
    """Returns a rating without numbers."""
    none = np.full(count, np.nan)
    return Rating(key, title, meaning, none, none, none, (reason,))
