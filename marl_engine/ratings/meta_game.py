"""Ratings by the game in which the actions are the entrants: Nash averaging and alpha-Rank.

The uncertainty of payoffs is carried into both by the bootstrap of `results.resample`. Nash averaging rates entrants by
the lead in payoff against each other, half of it for each side, so that it is defined for games of any sum. In a team
the entrants are agents and their partners are tasks (Balduzzi et al. 2018, appendix D).
"""

import numpy as np

from marl_engine.ratings.results import Rating, Results, interval, resample
from solvers.normal_form.alpha_rank import alpha_rank_symmetric
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
    """Returns the masses of alpha-Rank; without numbers unless all have met."""
    count = len(results.names)
    title = ("alpha_rank", "α-Rank", RANK)
    if not results.met[~np.eye(count, dtype=bool)].all():
        return without_numbers(*title, count)
    alphas, masses = sweep_alpha(results.payoff)
    chosen = find_plateau(masses)
    samples = resample(results, seed, most=max(20, min(200, SOLUTIONS // count)))
    value = masses[chosen]
    ends = (value, value)
    if not results.exact:
        ends = interval(np.array([alpha_rank_symmetric(prepare(each), alphas[chosen]) for each in samples]))
    stays = chosen < len(alphas) - 1
    note = f"Read at alpha = {alphas[chosen]:.3g}" + (
        "." if stays else ", the largest of the sweep: it has not settled."
    )
    return Rating(*title, value, *ends, (note,))


def prepare(payoff: np.ndarray) -> np.ndarray:
    """Returns payoffs (N, N) with 0 on the diagonal, which alpha-Rank does not use."""
    return np.where(np.eye(len(payoff), dtype=bool), 0.0, payoff)


def sweep_alpha(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns selection intensities (K,) and the masses (K, N) of alpha-Rank for them, for payoffs (N, N)."""
    table = prepare(payoff)
    scale = max(float(np.abs(table - table.T).max(initial=0.0)), 1e-300)
    alphas = ALPHAS / scale if scale > 1e-300 else ALPHAS
    return alphas, np.array([alpha_rank_symmetric(table, float(alpha)) for alpha in alphas])


def find_plateau(masses: np.ndarray) -> int:
    """Returns the smallest index from which on all masses (K, N) differ from the last ones by less than `STABLE`."""
    far = np.abs(masses - masses[-1]).sum(1) / 2 >= STABLE
    return int(np.flatnonzero(far)[-1]) + 1 if far.any() else 0


def without_numbers(key: str, title: str, meaning: str, count: int) -> Rating:
    """Returns a rating without numbers."""
    none = np.full(count, np.nan)
    return Rating(key, title, meaning, none, none, none, ("It is not computed: not all entrants have met each other.",))
