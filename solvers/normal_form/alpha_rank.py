"""alpha-Rank: the stationary distribution of an evolutionary Markov chain over joint actions.

Omidshafiei et al. 2019, arXiv:1903.01373. In each step one of the sum_p (A_p - 1) possible mutants appears, chosen
uniformly: a player's population that plays another action. It takes over with probability (Fermi selection, population
size m, u = alpha * its gain in payoff)

    rho = (1 - exp(-u)) / (1 - exp(-m u)),   1 / m if u = 0.

With infinite alpha a mutant takes over with probability 1 - noise if it earns more, 1/2 if it earns the same, noise if
it earns less.

If alpha is large or noise is small, the chain hardly moves between some of its parts, eigenvectors are lost to
rounding, and rates may underflow. The stationary distribution is therefore computed differently from the paper: states
are eliminated one after another without subtractions (Grassmann, Taksar and Heyman 1985), which is accurate to the last
digits of every entry; in logarithms if rates are too small.
"""

import numpy as np
import torch

from marl_engine.numerics.checks import check_finite, check_number
from marl_engine.numerics.jit import compile_loop
from solvers.normal_form.regrets import Strategies, check_payoffs

BLOCKED_ABOVE = 768  # states; in larger chains, several are eliminated before a matrix product updates the others
BLOCK = 96  # states that are eliminated together there
MAX_JOINT_ACTIONS = 10_000  # joint actions; the rates of their chain and the logarithms of these take 1.6 GB
TIE = 1e-12  # relative to the largest gain; smaller gains are ties
ROUNDING = 4 * np.finfo(float).eps  # relative to the largest payoff; smaller gains are ties, too


def alpha_rank(payoffs: np.ndarray, alpha: float = np.inf, population: int = 50, noise: float = 1e-6) -> np.ndarray:
    """Returns the stationary distribution (A, B, …) for payoffs (P, A, B, …), with one population for each player.

    Raises ValueError for invalid payoffs, too many joint actions, and parameters out of range.
    """
    payoffs = check_payoffs(payoffs)
    check_chain(payoffs[0].size, alpha, population, noise)
    places = np.arange(payoffs[0].size).reshape(payoffs.shape[1:])
    logs = np.full((payoffs[0].size,) * 2, -np.inf)
    for player, earns in enumerate(payoffs):
        own = np.moveaxis(earns, player, -1).reshape(-1, earns.shape[player])
        where = np.moveaxis(places, player, -1).reshape(own.shape)
        gain = own[:, None, :] - own[:, :, None]  # (others, from, to)
        logs[where[:, :, None], where[:, None, :]] = log_fixation(gain, rounding(earns), alpha, population, noise)
    return stationary(logs).reshape(payoffs.shape[1:])


def alpha_rank_symmetric(
    payoff: np.ndarray, alpha: float = np.inf, population: int = 50, noise: float = 1e-6
) -> np.ndarray:
    """Returns the stationary distribution (A,) for one population that plays against itself.

    `payoff` (A, A) is that of the row; u = M[r, s] - M[s, r]. Raises ValueError as `alpha_rank` does.
    """
    check_finite("payoff", payoff)
    payoff = np.asarray(payoff, float)
    if payoff.ndim != 2 or payoff.shape[0] != payoff.shape[1] or not payoff.size:
        raise ValueError(f"payoff must have the shape (A, A), not {payoff.shape}")
    check_chain(len(payoff), alpha, population, noise)
    return stationary(log_fixation(payoff.T - payoff, rounding(payoff), alpha, population, noise))


def rounding(payoff: np.ndarray) -> float:
    """Returns the largest difference between payoffs that rounding can cause."""
    return float(ROUNDING * np.abs(payoff).max())


def marginals(joint: np.ndarray) -> Strategies:
    """Returns the marginal distributions of a joint distribution (A, B, …)."""
    axes = range(joint.ndim)
    return [joint.sum(tuple(other for other in axes if other != player)) for player in axes]


def check_chain(states: int, alpha: float, population: int, noise: float) -> None:
    """Raises ValueError for too many states, and for parameters out of range."""
    if states > MAX_JOINT_ACTIONS:
        raise ValueError(f"alpha-Rank takes up to {MAX_JOINT_ACTIONS} joint actions, not {states}")
    check_number("alpha", alpha, above=0, infinite=True)
    check_number("population", population, least=2, whole=True)
    check_number("noise", noise, above=0, below=0.5)


def log_fixation(gain: np.ndarray, indifference: float, alpha: float, population: int, noise: float) -> np.ndarray:
    """Returns log rho of mutants that earn `gain` more than the residents.

    Gains up to `indifference` count as zero.
    """
    tie = np.abs(gain) <= max(TIE * np.abs(gain).max(), indifference)
    if np.isinf(alpha):
        return np.where(tie, np.log(0.5), np.where(gain > 0, np.log1p(-noise), np.log(noise)))
    size = np.where(tie, 1.0, alpha * np.abs(gain))
    log_rho = np.log(-np.expm1(-size)) - np.log(-np.expm1(-population * size))
    log_rho -= np.where(gain < 0, (population - 1) * size, 0.0)
    return np.where(tie, -np.log(population), log_rho)


def stationary(logs: np.ndarray) -> np.ndarray:
    """Returns p (N,) with p C = p and sum 1, from logarithms of transition rates (N, N); the diagonal is ignored.

    A common factor of all rates has no effect.
    """
    with np.errstate(under="ignore"):
        rates = np.exp(logs)
    np.fill_diagonal(rates, 0)
    if eliminate(rates):
        weights = np.zeros(len(rates))
        weigh(rates, weights)
        if np.isfinite(weights.sum()):
            return weights / weights.sum()
    logs = logs.copy()
    log_weights = np.zeros(len(logs))
    eliminate_logs(logs, log_weights)
    log_weights = np.exp(log_weights - log_weights.max())
    return log_weights / log_weights.sum()


def eliminate(rates: np.ndarray) -> bool:
    """Eliminates the states of a chain from the last to the second, in place.

    Returns False if a state is numerically absorbing.

    Column k ends as the rates into state k divided by the rate at which the chain leaves it for lower states.
    """
    block, tensor = len(rates) if len(rates) <= BLOCKED_ABOVE else BLOCK, torch.from_numpy(rates)  # torch adds in place
    for end in range(len(rates), 1, -block):
        begin = max(end - block, 1)
        if not eliminate_block(rates, begin, end):
            return False
        tensor[:begin, :begin].addmm_(tensor[:begin, begin:end], tensor[begin:end, :begin])
    return True


@compile_loop
def eliminate_block(rates, begin, end):
    """Eliminates states `end` - 1 to `begin`. The caller updates the block of lower states."""
    for state in range(end - 1, begin - 1, -1):
        leaving = 0.0
        for other in range(state):
            leaving += rates[state, other]
        if leaving < 1e-290:
            return False
        for row in range(state):
            rates[row, state] /= leaving
            factor = rates[row, state]
            if factor != 0:
                for column in range(begin if row < begin else 0, state):
                    place = np.uintp(row), np.uintp(column)  # unsigned indices need no sign test
                    rates[place] += factor * rates[np.uintp(state), np.uintp(column)]
    return True


@compile_loop
def weigh(rates, weights):
    """Writes the stationary distribution, up to a factor, into `weights` (N,) after elimination."""
    weights[0] = 1.0
    for state in range(weights.size):
        weight = weights[state]
        for other in range(state + 1, weights.size):
            weights[np.uintp(other)] += weight * rates[np.uintp(state), np.uintp(other)]


@compile_loop
def eliminate_logs(logs, weights):
    """Eliminates all states but the first from the logarithms of rates (N, N), in place, one state after another.

    Writes the logarithm of the stationary distribution, up to a constant, into `weights` (N,).
    """
    states = weights.size
    for state in range(states - 1, 0, -1):
        highest = -np.inf
        for other in range(state):
            highest = max(highest, logs[state, other])
        leaving = 0.0
        for other in range(state):
            leaving += np.exp(logs[state, other] - highest)
        leaving = highest + np.log(leaving)
        for row in range(state):
            into = logs[row, state] - leaving
            logs[row, state] = into
            if into == -np.inf:
                continue
            for column in range(state):
                a, b = logs[row, column], into + logs[state, column]
                low, high = min(a, b), max(a, b)
                logs[row, column] = high if high - low > 40 or high == -np.inf else high + np.log1p(np.exp(low - high))
    weights[0] = 0.0
    for state in range(1, states):
        highest = -np.inf
        for row in range(state):
            highest = max(highest, weights[row] + logs[row, state])
        total = 0.0
        for row in range(state):
            total += np.exp(weights[row] + logs[row, state] - highest)
        weights[state] = highest + np.log(total)
