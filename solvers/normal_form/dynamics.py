"""Learning dynamics in normal form: replicator dynamics, regret matching, fictitious play.

With u_p(a) the payoff of action a of player p against the current play of the others, and x_p its strategy:

    replicator             x(a) += step * x(a) (u(a) - x u), then projected to distributions with all x(a) >= floor
    regret matching        R(a) += u(a) - x u;  x ~ [R]+, uniform if no regret is positive, mixed with `floor`
    fictitious play        x is the average of all best responses so far

All players move simultaneously; results are averages over time. Sources: Taylor and Jonker (1978), projected by Lanctot
et al. 2017 (arXiv:1711.00832); Hart and Mas-Colell (2000); Brown (1951). Functions that return averages scale payoffs
to each player's range, so results do not depend on units; `replicator` uses payoffs as they are. The averages of regret
matching and fictitious play converge to equilibria of two-player zero-sum games. Those of replicator dynamics do so in
few other cases, but the floor makes them a robust weighting of a population.

Payoffs are stored with a player's own axis last, so that the others are averaged out axis by axis over contiguous
memory.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.numerics.checks import check_number
from marl_engine.numerics.jit import compile_inline, compile_loop
from solvers.normal_form.regrets import Strategies, check_strategies, in_range, subtract_least

REPLICATOR, REGRET_MATCHING, FICTITIOUS_PLAY = range(3)
FIRST_REGRET = 1e-6  # initial regret of every action, so that the first steps are uniform


class CompiledGame(NamedTuple):
    """A game for compiled loops, with P players, D actions of all players together, and N joint actions."""

    payoff: np.ndarray  # (P, N): for each player a tensor with its own axis last, the others in order
    order: np.ndarray  # (P, P): the players in the order of these axes
    first: np.ndarray  # (P + 1,) where the actions of each player begin
    work: np.ndarray  # (N,) working memory
    value: np.ndarray  # (D,) working memory


class Learner(NamedTuple):
    """The state of the players; all (D,)."""

    strategy: np.ndarray
    regret: np.ndarray
    total: np.ndarray  # the sum of strategies so far


@compile_inline
def average_out(work, source, weights, begin, actions, size):
    """Writes the sum over actions of weights[begin + action] * source[action * size + …] into work (size,).

    Four actions at a time with unsigned indices: five times as fast.
    """
    weight = weights[begin]
    for index in range(size):
        work[np.uintp(index)] = weight * source[np.uintp(index)]
    fours = (actions - 1) // 4
    for four in range(fours):
        action = 1 + 4 * four
        a, b = weights[begin + action], weights[begin + action + 1]
        c, d = weights[begin + action + 2], weights[begin + action + 3]
        start = action * size
        if a + b + c + d > 0:
            for index in range(size):
                work[np.uintp(index)] += (
                    a * source[np.uintp(start + index)]
                    + b * source[np.uintp(start + size + index)]
                    + c * source[np.uintp(start + 2 * size + index)]
                    + d * source[np.uintp(start + 3 * size + index)]
                )
    for action in range(1 + 4 * fours, actions):
        weight, start = weights[begin + action], action * size
        for index in range(size):
            work[np.uintp(index)] += weight * source[np.uintp(start + index)]


@compile_inline
def evaluate(game, strategy, player):
    """Writes the value of each action of a player against the strategies (D,) into `game.value`."""
    size = game.payoff.shape[1]
    source = game.payoff[player]
    for axis in range(game.order.shape[0] - 1):
        other = game.order[player, axis]
        begin, actions = game.first[other], game.first[other + 1] - game.first[other]
        size //= actions
        average_out(game.work, source, strategy, begin, actions, size)
        source = game.work
    begin = game.first[player]
    for index in range(size):
        game.value[begin + index] = source[index]


@compile_inline
def project(strategy, begin, end, floor):
    """Projects to the nearest distribution with all probabilities >= `floor`, in place (Michelot 1986)."""
    actions, total = end - begin, 0.0
    for index in range(begin, end):
        total += strategy[index]
    free, excess, low = actions, (total - 1) / actions, -1
    while free != low:  # probabilities at the floor stay there
        low = free
        free, total = 0, 0.0
        for index in range(begin, end):
            if strategy[index] - excess > floor:
                free += 1
                total += strategy[index]
        if free > 0:
            excess = (total - (1 - (actions - free) * floor)) / free
    for index in range(begin, end):
        strategy[index] = max(strategy[index] - excess, floor)


@compile_inline
def replicate(game, learner, player, step, floor):
    """Takes one step of projected replicator dynamics."""
    begin, end, mean = game.first[player], game.first[player + 1], 0.0
    for index in range(begin, end):
        mean += learner.strategy[index] * game.value[index]
    for index in range(begin, end):
        learner.strategy[index] += step * learner.strategy[index] * (game.value[index] - mean)
    project(learner.strategy, begin, end, floor)


@compile_inline
def match(game, learner, player, floor):
    """Takes one step of regret matching."""
    begin, end, mean, total = game.first[player], game.first[player + 1], 0.0, 0.0
    for index in range(begin, end):
        mean += learner.strategy[index] * game.value[index]
    for index in range(begin, end):
        learner.regret[index] += game.value[index] - mean
        total += max(learner.regret[index], 0.0)
    even = 1.0 / (end - begin)
    for index in range(begin, end):
        chance = max(learner.regret[index], 0.0) / total if total > 0 else even
        learner.strategy[index] = floor * even + (1 - floor) * chance


@compile_inline
def respond(game, learner, player, count):
    """Takes one step of fictitious play: adds a best response to the average of `count` moves."""
    begin, end = game.first[player], game.first[player + 1]
    best = begin
    for index in range(begin, end):
        if game.value[index] > game.value[best]:
            best = index
    for index in range(begin, end):
        learner.strategy[index] *= count / (count + 1)
    learner.strategy[best] += 1 / (count + 1)


@compile_loop
def play_steps(game, learner, rule, steps, step, floor):
    """Takes `steps` steps with all players in place."""
    players = game.order.shape[0]
    for number in range(steps):
        for index in range(learner.total.size):
            learner.total[index] += learner.strategy[index]
        for player in range(players):
            evaluate(game, learner.strategy, player)
        for player in range(players):
            if rule == REPLICATOR:
                replicate(game, learner, player, step, floor)
            elif rule == REGRET_MATCHING:
                match(game, learner, player, floor)
            else:
                respond(game, learner, player, number + 1.0)


def arrange_payoffs(payoffs: np.ndarray) -> CompiledGame:
    """Returns the arrays of a game with payoffs (P, A, B, …) float64."""
    players, counts = len(payoffs), payoffs.shape[1:]
    order = [[*(other for other in range(players) if other != player), player] for player in range(players)]
    turned = [np.moveaxis(earns, player, -1).ravel() for player, earns in enumerate(payoffs)]
    first = np.concatenate([[0], np.cumsum(counts)])
    return CompiledGame(np.stack(turned), np.array(order), first, np.empty(payoffs[0].size), np.empty(first[-1]))


def initial_learner(game: CompiledGame) -> Learner:
    """Returns the initial state: uniform strategies."""
    counts = np.diff(game.first)
    strategy = np.repeat(1 / counts, counts)
    return Learner(strategy, np.full_like(strategy, FIRST_REGRET), np.zeros_like(strategy))


def split_weights(game: CompiledGame, weights: np.ndarray) -> Strategies:
    """Returns the distribution of each player from weights (D,)."""
    return [part / part.sum() for part in np.split(weights, game.first[1:-1])]


def projected_replicator(
    payoffs: np.ndarray, steps: int = 50_000, step_size: float = 5e-3, floor: float = 1e-6
) -> Strategies:
    """Returns average strategies over `steps` steps.

    `floor` is the paper's gamma, `step_size` its dt in units of payoff ranges.

    The paper's dt of 1e-3 is for payoffs with a range of five. Raises ValueError for numbers out of range, like all
    functions here.
    """
    check_number("step_size", step_size, above=0)
    game = arrange_payoffs(in_range(payoffs))
    check_number("floor", floor, least=0, below=1 / np.diff(game.first).max())
    learner = simulate(game, initial_learner(game), REPLICATOR, steps, step_size, floor)
    return split_weights(game, learner.total + learner.strategy)


def regret_matching(payoffs: np.ndarray, steps: int = 20_000, floor: float = 0.0) -> Strategies:
    """Returns average strategies over `steps` steps. Strategies have a share `floor` of the uniform one."""
    check_number("floor", floor, least=0, most=1)
    game = arrange_payoffs(in_range(payoffs))
    learner = simulate(game, initial_learner(game), REGRET_MATCHING, steps, floor=floor)
    return split_weights(game, learner.total + learner.strategy)


def fictitious_play(payoffs: np.ndarray, steps: int = 20_000) -> Strategies:
    """Returns the average of best responses to averages; the first move is uniform."""
    game = arrange_payoffs(in_range(payoffs))
    return split_weights(game, simulate(game, initial_learner(game), FICTITIOUS_PLAY, steps).strategy)


def replicator(payoffs: np.ndarray, start: Strategies, steps: int, step_size: float = 1e-3) -> Strategies:
    """Returns strategies after `steps` steps of replicator dynamics from `start`, not averaged, without floor."""
    check_number("step_size", step_size, above=0)
    game = arrange_payoffs(subtract_least(payoffs))
    check_strategies(payoffs, start)
    learner = initial_learner(game)
    learner.strategy[:] = np.concatenate(start)
    return split_weights(game, simulate(game, learner, REPLICATOR, steps, step_size).strategy)


def simulate(
    game: CompiledGame, learner: Learner, rule: int, steps: int, step_size: float = 0.0, floor: float = 0.0
) -> Learner:
    """Plays `steps` steps and returns the learner, changed in place. Raises ValueError for fewer than 1."""
    check_number("steps", steps, least=1, whole=True)
    play_steps(game, learner, rule, steps, step_size, floor)
    return learner
