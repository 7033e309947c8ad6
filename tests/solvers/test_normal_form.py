"""Solvers in normal form, compared with results by hand, closed forms and other solvers."""

from importlib import import_module
from itertools import product

import nashpy
import numpy as np
import pytest
from quantecon.optimize import minmax

from games.normal_form.catalogue import load_classic
from games.normal_form.games import MatrixGame
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.normal_form import logit
from solvers.normal_form.alpha_rank import alpha_rank, alpha_rank_symmetric, marginals, stationary
from solvers.normal_form.catalogue import META
from solvers.normal_form.correlated import cce_regrets, ce_regrets, correlated_equilibrium, max_entropy_correlated
from solvers.normal_form.dynamics import fictitious_play, projected_replicator, regret_matching, replicator
from solvers.normal_form.enumeration import all_equilibria, distinct_rows
from solvers.normal_form.logit import logit_equilibrium, logit_limit, logit_path
from solvers.normal_form.nash import (
    average_candidates,
    gap,
    logit_candidates,
    nash,
    pivot_candidates,
    solve_by_highs,
    zero_sum,
)
from solvers.normal_form.nash_averaging import nash_averaging, nash_averaging_tasks
from solvers.normal_form.regrets import in_range, nash_conv, regrets, uniform_strategies, values
from solvers.normal_form.selection import max_entropy
from solvers.normal_form.solver import NormalForm, payoff_array
from solvers.normal_form.supports import pure_equilibrium, refine

CHICKEN, DILEMMA = load_classic("chicken"), load_classic("prisoners_dilemma")
PENNIES, CYCLE = load_classic("matching_pennies"), load_classic("rock_paper_scissors")
JORDAN = np.stack(  # three players: the first wants what the second does, the second the third, the third not the first
    [
        np.array([[[1.0 if one == other else -1.0 for _ in range(2)] for other in range(2)] for one in range(2)]),
        np.array([[[1.0 if one == other else -1.0 for other in range(2)] for one in range(2)] for _ in range(2)]),
        np.array([[[-1.0 if one == other else 1.0 for one in range(2)] for _ in range(2)] for other in range(2)]),
    ]
)


def random_payoffs(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def mixed_only(count, *shape):
    """Returns random games without a pure equilibrium."""
    games = (random_payoffs(seed, *shape) for seed in range(10_000))
    return [
        payoffs
        for payoffs, _ in zip((each for each in games if pure_equilibrium(each) is None), range(count), strict=False)
    ]


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2, 3, 2)])
def test_regrets_are_those_of_the_best_pure_deviation(shape):
    payoffs = random_payoffs(0, *shape)
    strategies = [np.random.default_rng(1).dirichlet(np.ones(actions)) for actions in shape[1:]]

    def earns(player, strategies):
        joints = product(*map(range, shape[1:]))
        return sum(
            np.prod([own[action] for own, action in zip(strategies, joint, strict=True)]) * payoffs[player][joint]
            for joint in joints
        )

    for player, regret in enumerate(regrets(payoffs, strategies)):
        others = [[*strategies[:player], each, *strategies[player + 1 :]] for each in np.eye(shape[player + 1])]
        assert regret == pytest.approx(max(earns(player, each) for each in others) - earns(player, strategies))


def test_zero_sum_games_have_the_values_that_others_find():
    random = np.random.default_rng(0)
    for number in range(200):
        shape = random.integers(1, 13, 2)
        payoff = random.normal(size=shape) if number % 2 else random.integers(-2, 3, shape).astype(float)
        row, column = zero_sum(payoff)
        assert gap(payoff, row, column) < 1e-12
        assert row @ payoff @ column == pytest.approx(minmax(payoff)[0], abs=1e-9)
        reference = nashpy.Game(payoff).linear_program()
        assert row @ payoff @ column == pytest.approx(reference[0] @ payoff @ reference[1], abs=1e-7)


@pytest.mark.parametrize("size", [5, 60, 150])
@pytest.mark.parametrize("kind", ["random", "wins", "copies"])
def test_two_ways_to_solve_a_zero_sum_game(kind, size):
    """QuantEcon's simplex method and HiGHS; degenerate games have the same value."""
    payoff = random_payoffs(size, size, size)
    if kind == "wins":
        payoff = np.sign(payoff - payoff.T)
    if kind == "copies":
        payoff = payoff[np.ix_(np.arange(size) // 3, np.arange(size) // 2)]
    scaled = 1 + in_range(np.stack([payoff, payoff]))[0]
    for row, column in (zero_sum(payoff), solve_by_highs(scaled)):
        assert gap(scaled, row, column) < 1e-7
        assert row @ payoff @ column == pytest.approx(minmax(payoff)[0], abs=1e-6)


DEGENERATE = {
    "nothing matters": np.zeros((2, 4, 3)),
    "copies": random_payoffs(3, 2, 4, 4)[:, [0, 0, 1, 2, 3, 3]][:, :, [0, 1, 1, 2, 3, 3]],
    "ties": np.random.default_rng(4).integers(0, 2, (2, 15, 15)).astype(float),
    "one action": random_payoffs(5, 2, 1, 6),
    "shapley": load_classic("shapley"),
    "a common unit": 1e6 * load_classic("shapley") + 1e7,
    "Jordan": JORDAN,
    "four, ties": np.random.default_rng(6).integers(0, 3, (4, 3, 3, 3, 3)).astype(float),
    "one player": random_payoffs(7, 1, 5),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_games_have_equilibria_too(name):
    result = nash(DEGENERATE[name])
    assert regrets(in_range(DEGENERATE[name]), result).max() < 1e-9
    assert all(own.min() >= 0 and own.sum() == pytest.approx(1) for own in result)


@pytest.mark.parametrize("shape", [(2, 15, 15), (2, 3, 40), (3, 2, 2, 2), (3, 4, 3, 5), (4, 2, 3, 2, 3)])
def test_random_games_without_pure_equilibria(shape):
    for payoffs in mixed_only(6, *shape):
        assert regrets(in_range(payoffs), nash(payoffs)).max() < 1e-9


def test_three_ways_to_the_only_equilibrium():
    """Pivots, the logit path, and supports found by dynamics."""
    payoffs = in_range(load_classic("biased_rock_paper_scissors"))
    for way in (
        pivot_candidates,
        logit_candidates,
        lambda payoffs: (refine(payoffs, each) for each in average_candidates(payoffs)),
    ):
        assert np.concatenate(next(way(payoffs))) == pytest.approx(np.array([1, 3, 3] * 2) / 7, abs=1e-12)


def test_payoffs_that_are_none_are_refused():
    with pytest.raises(ValueError, match="payoffs must have the shape"):
        nash(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="payoffs must be finite numbers"):
        nash(np.full((2, 2, 2), np.nan))


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize(
    "solve",
    [
        *META.values(),
        alpha_rank_symmetric,
        nash_averaging,
        nash_averaging_tasks,
        correlated_equilibrium,
        all_equilibria,
        zero_sum,
    ],
)
def test_what_is_no_number_passes_nowhere(solve, number):
    payoff = CYCLE[0].copy()
    payoff[0, 1] = number
    one_table = solve in (alpha_rank_symmetric, nash_averaging, nash_averaging_tasks, zero_sum)
    if solve is not uniform_strategies:
        with pytest.raises(ValueError, match="must be finite numbers; at"):
            solve(payoff if one_table else np.stack([payoff, -payoff]))


@pytest.mark.parametrize(
    ("solve", "keys"),
    [
        (alpha_rank, {"alpha": np.nan}),
        (alpha_rank, {"population": 2.5}),
        (alpha_rank, {"noise": np.nan}),
        (regret_matching, {"floor": np.nan}),
        (regret_matching, {"steps": 0}),
        (fictitious_play, {"steps": -1}),
        (projected_replicator, {"step_size": np.inf}),
        (projected_replicator, {"floor": 0.5}),
        (logit_limit, {"steps": 0}),
        (logit_equilibrium, {"precision": np.nan}),
    ],
)
def test_parameters_out_of_range_are_refused(solve, keys):
    with pytest.raises(ValueError, match=f"{next(iter(keys))} must be a"):
        solve(CYCLE, **keys)


def test_best_correlated_equilibrium_of_chicken():
    """If told to give way, the other does so with p, and 7p <= 2(1 - p) + 6p: p <= 2/3, so both give way half the
    time.
    """
    joint = correlated_equilibrium(CHICKEN)
    assert joint == pytest.approx(np.array([[0, 0.25], [0.25, 0.5]]))
    assert (CHICKEN * joint).sum() == pytest.approx(10.5)
    assert ce_regrets(CHICKEN, joint) == pytest.approx(0, abs=1e-12)


def test_coarse_equilibria_are_more():
    """In rock-paper-scissors where ties cost both 1/2, a coarse one never ties, but when told rock one would play
    scissors.
    """
    row = CYCLE[0] - np.eye(3) / 2
    payoffs = np.stack([row, row.T])
    never = (1 - np.eye(3)) / 6
    assert cce_regrets(payoffs, never) == pytest.approx(-1 / 6)
    assert ce_regrets(payoffs, never) == pytest.approx(1 / 4)  # (1 - 1/2) / 2 whatever it is told
    assert (payoffs * correlated_equilibrium(payoffs, "cce")).sum() == pytest.approx(0, abs=1e-9)
    assert (payoffs * correlated_equilibrium(payoffs, "ce")).sum() == pytest.approx(-1 / 3)


@pytest.mark.parametrize("kind", ["ce", "cce"])
@pytest.mark.parametrize("shape", [(2, 5, 6), (3, 3, 2, 4)])
def test_correlated_equilibria_of_random_games(shape, kind):
    payoffs, gains = random_payoffs(8, *shape), {"ce": ce_regrets, "cce": cce_regrets}[kind]
    best, even = correlated_equilibrium(payoffs, kind), max_entropy_correlated(payoffs, kind)
    point = nash(payoffs)
    alone = point[0]
    for own in point[1:]:
        alone = np.multiply.outer(alone, own)
    for joint in (best, even, alone):
        assert gains(payoffs, joint).max() < 1e-9
        assert (payoffs * joint).sum() <= (payoffs * best).sum() + 1e-9
        assert entropy(joint) <= entropy(even) + 1e-9
    earns = random_payoffs(9, *shape[1:])
    assert (earns * correlated_equilibrium(payoffs, kind, earns)).sum() >= (earns * even).sum() - 1e-9


def entropy(p):
    return -(p[p > 0] @ np.log(p[p > 0]))


def test_most_even_correlated_equilibria():
    """Only defection in the dilemma; in chicken (a, 2a, 2a, 1 - 5a) with the maximum at a = 1 / (5 + 2^(4/5))."""
    assert max_entropy_correlated(PENNIES) == pytest.approx(np.full((2, 2), 1 / 4), abs=1e-6)
    assert max_entropy_correlated(JORDAN) == pytest.approx(np.full((2, 2, 2), 1 / 8), abs=1e-6)
    assert max_entropy_correlated(DILEMMA) == pytest.approx(np.array([[0, 0], [0, 1]]), abs=1e-6)
    a = 1 / (5 + 2**0.8)
    assert max_entropy_correlated(CHICKEN) == pytest.approx(np.array([[a, 2 * a], [2 * a, 1 - 5 * a]]), abs=1e-6)


def test_conditions_that_nothing_meets_and_kinds_that_there_are_not():
    with pytest.raises(ValueError, match="no distribution"):
        max_entropy(np.ones((1, 3)))
    with pytest.raises(ValueError, match="one of ce, cce"):
        correlated_equilibrium(CHICKEN, "nash")


@pytest.mark.parametrize("shape", [(2, 4, 6), (3, 3, 2, 4)])
def test_dynamics_are_openspiels(shape):
    """The second pair of parameters puts most probabilities at the floor in every step."""
    reference = import_module("open_spiel.python.algorithms.projected_replicator_dynamics")
    matching = import_module("open_spiel.python.algorithms.regret_matching")
    payoffs = in_range(random_payoffs(10, *shape))
    for step, floor in ((0.05, 1e-3), (2.0, 0.1)):
        result = reference.projected_replicator_dynamics(
            list(payoffs), prd_iterations=1000, prd_dt=step, prd_gamma=floor, use_approx=False
        )
        actual = projected_replicator(payoffs, 1000, step, floor)
        assert np.concatenate(actual) == pytest.approx(np.concatenate(result), abs=1e-9)
    result = matching.regret_matching(list(payoffs), iterations=1000, gamma=1e-3)
    assert np.concatenate(regret_matching(payoffs, 1000, 1e-3)) == pytest.approx(np.concatenate(result), abs=1e-9)


@pytest.mark.parametrize("learn", [fictitious_play, regret_matching])
def test_averages_of_zero_sum_games_come_to_an_equilibrium(learn):
    """As 1 / sqrt(steps), or faster."""
    row = random_payoffs(11, 8, 9)
    payoffs = np.stack([row, -row])
    early, late = (nash_conv(payoffs, learn(payoffs, steps)) for steps in (500, 50_000))
    assert late < min(early / 5, 0.02)


def test_replicators_turn_around_the_equilibrium():
    """In rock-paper-scissors the product of probabilities is a constant of the motion."""
    start = [np.array([0.5, 0.3, 0.2]), np.array([0.5, 0.3, 0.2])]
    result = replicator(CYCLE, start, 20_000, 1e-4)
    assert np.prod(result[0]) == pytest.approx(np.prod(start[0]), rel=1e-3)
    assert np.abs(result[0] - start[0]).max() > 0.05


def residual(payoffs, strategies, precision):
    """Returns the distance of strategies from softmaxes of their payoffs."""
    results = []
    for player, own in enumerate(strategies):
        value = precision * values(payoffs, strategies, player)
        odds = np.exp(value - value.max())
        results.append(np.abs(own - odds / odds.sum()).max())
    return max(results)


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 3, 2, 4), (4, 2, 2, 2, 2)])
def test_quantal_responses_answer_each_other(shape):
    payoffs = random_payoffs(12, *shape)
    for precision in (0.5, 3.0, 40.0):
        assert residual(payoffs, logit_equilibrium(payoffs, precision), precision) < 1e-10
    for point in logit_path(payoffs, 40):
        assert residual(payoffs, point.strategies, point.precision) < 1e-8 * max(1, point.precision)


def test_quantal_responses_in_asymmetric_matching_pennies():
    """The row player wins 9 or 1, the column player 1; by bisection, as q falls in p and p rises in q."""
    payoffs = np.array([[[9, 0], [0, 1]], [[0, 1], [1, 0]]], float)
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        q = 1 / (1 + np.exp(0.7 * (2 * p - 1)))
        low, high = (p, high) if 1 / (1 + np.exp(-0.7 * (10 * q - 1))) > p else (low, p)
    row, column = logit_equilibrium(payoffs, 0.7)
    assert (row[0], column[0]) == pytest.approx((p, q), abs=1e-10)
    assert np.concatenate(logit_limit(payoffs)) == pytest.approx([0.5, 0.5, 0.1, 0.9], abs=1e-9)


def test_the_path_leads_to_the_risk_dominant_equilibrium():
    """Hares in the stag hunt, where (3 - 1)^2 > (4 - 3)^2; stags if missing them costs less, (3 - 2.5)^2."""
    assert np.concatenate(logit_limit(load_classic("stag_hunt"))) == pytest.approx([0, 1, 0, 1])
    row = np.array([[4, 2.5], [3, 3]])
    assert np.concatenate(logit_limit(np.stack([row, row.T]))) == pytest.approx([1, 0, 1, 0])


@pytest.mark.parametrize("alpha", [np.inf, 0.1, 100.0])
def test_alpha_rank_by_hand(alpha):
    """Cyclic actions have equal weight, dominated ones none."""
    assert alpha_rank_symmetric(CYCLE[0], alpha) == pytest.approx(np.full(3, 1 / 3))
    assert alpha_rank(CYCLE, alpha).sum(1) == pytest.approx(np.full(3, 1 / 3))
    defects = marginals(alpha_rank(DILEMMA, alpha))[0][1]
    assert defects > 0.99 if alpha < 1 else defects == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.02, 0.1])
@pytest.mark.parametrize("name", ["chicken", "battle_of_the_sexes", "biased_rock_paper_scissors", "three", "one"])
def test_alpha_rank_is_openspiels(name, alpha):
    reference = import_module("open_spiel.python.egt.alpharank")
    payoffs = random_payoffs(13, 3, 2, 3, 4) if name == "three" else load_classic("chicken" if name == "one" else name)
    settings = {"use_inf_alpha": True, "inf_alpha_eps": 0.01} if alpha is None else {"alpha": alpha}
    actual = {"noise": 0.01} if alpha is None else {"alpha": alpha}
    tables = [payoffs[0]] if name == "one" else list(payoffs)
    result = reference.compute(tables, m=50, **settings)[2]
    own = alpha_rank_symmetric(payoffs[0], **actual) if name == "one" else alpha_rank(payoffs, **actual)
    assert own.ravel() == pytest.approx(result, abs=1e-6)


@pytest.mark.parametrize(("size", "scale"), [(3, 1.0), (3, 2000.0), (60, 30.0), (60, 2000.0), (900, 1.0), (900, 30.0)])
def test_chains_that_hardly_move(size, scale):
    """Detailed balance on a line, p(i) C(i, i + 1) = p(i + 1) C(i + 1, i), with rates from 1 down to exp(-scale)."""
    up, down = -scale * np.random.default_rng(14).random((2, size - 1))
    logs = np.full((size, size), -np.inf)
    logs[range(size - 1), range(1, size)], logs[range(1, size), range(size - 1)] = up, down
    exact = np.concatenate([[0], np.cumsum(up - down)])
    exact = np.exp(exact - exact.max())
    order = np.random.default_rng(15).permutation(size)
    result = stationary(logs[np.ix_(order, order)])
    assert result == pytest.approx((exact / exact.sum())[order], rel=1e-9, abs=1e-300)


def test_alpha_rank_where_rates_are_below_all_floats():
    """Two strict equilibria that 50 mutants leave with odds of exp(-1000 * loss); that of stags is left sooner."""
    result = alpha_rank(load_classic("stag_hunt"), alpha=1000.0)
    assert result == pytest.approx(np.array([[0, 0], [0, 1]]), abs=1e-12)
    assert alpha_rank(CHICKEN, alpha=1000.0) == pytest.approx(np.array([[0, 0.5], [0.5, 0]]))


def test_nash_averaging_by_hand():
    transitive = np.array([[0.0, -1, -1], [1, 0, -1], [1, 1, 0]])
    for payoff, p in [
        (transitive, (0, 0, 1)),
        (CYCLE[0], (1 / 3, 1 / 3, 1 / 3)),
        (np.zeros((4, 4)), (1 / 4,) * 4),
        (load_classic("biased_rock_paper_scissors")[0], (1 / 7, 3 / 7, 3 / 7)),
        (np.array([[0.0, 0, 1], [0, 0, 2], [-1, -2, 0]]), (1 / 2, 1 / 2, 0)),
        (np.array([[0.0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1], [1, 0, -1, 0]]), (1 / 4,) * 4),
    ]:
        result, skill = nash_averaging(payoff)
        assert result == pytest.approx(p, abs=1e-6)
        assert skill == pytest.approx(payoff @ p, abs=1e-6)
        assert skill.max() < 1e-6
    with pytest.raises(ValueError, match="one agent wins what the other loses"):
        nash_averaging(np.ones((2, 2)))


def test_copies_of_agents_and_tasks_change_nothing():
    """OpenSpiel's convex programme gives the same to at least three digits."""
    biased = load_classic("biased_rock_paper_scissors")[0][np.ix_([0, 1, 2, 2], [0, 1, 2, 2])]
    assert nash_averaging(biased)[0] == pytest.approx(np.array([2, 6, 3, 3]) / 14, abs=1e-6)
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.6, 0.6, 0.1], [0.3, 0.2, 0.2]])
    agents, tasks, skills, difficulties = nash_averaging_tasks(scores)
    assert agents == pytest.approx(np.array([5, 4, 7, 0]) / 16, abs=1e-6)
    assert tasks == pytest.approx(np.array([7, 7, 2]) / 16, abs=1e-6)
    assert skills == pytest.approx(np.array([9, 9, 9, 2.5]) / 16, abs=1e-6)
    assert difficulties == pytest.approx(np.full(3, -9 / 16), abs=1e-6)
    twice = nash_averaging_tasks(scores[:, [0, 0, 1, 2]])
    assert twice[1] == pytest.approx(np.array([3.5, 3.5, 7, 2]) / 16, abs=1e-6)
    assert twice[2] == pytest.approx(skills, abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_nash_averaging_of_games_with_many_equilibria(seed):
    """Integer payoffs have ties: still no agent beats the average, and agents and tasks have the same value."""
    random = np.random.default_rng(seed)
    size = random.integers(3, 9)
    wins = np.triu(random.integers(-2, 3, (size, size)), 1).astype(float)
    assert nash_averaging(wins - wins.T)[1].max() < 1e-6
    scores = random.random((6, 10)) if seed % 2 else random.integers(0, 4, (8, 5)).astype(float)
    agents, tasks, _, _ = nash_averaging_tasks(scores)
    low, high = scores.min(0), scores.max(0)
    earns = np.divide(scores - low, high - low, out=np.zeros_like(scores), where=high > low)
    assert gap(earns, agents, tasks) < 1e-6


@pytest.mark.parametrize("kind", ["ce", "cce"])
def test_most_even_equilibria_of_games_with_copied_actions(kind):
    for seed in range(20):
        random = np.random.default_rng(seed)
        rows, columns = random.integers(2, 9, 2)
        payoffs = random.normal(size=(2, rows, columns))
        payoffs = payoffs[:, random.integers(0, rows, rows)][:, :, random.integers(0, columns, columns)]
        results = {"ce": ce_regrets, "cce": cce_regrets}[kind](in_range(payoffs), max_entropy_correlated(payoffs, kind))
        assert results.max() < 1e-5


def test_the_most_even_equilibrium_of_antisymmetric_games():
    """Payoffs of +1 and -1 have many equilibria; no mixture with another one has a larger entropy."""
    for seed in range(20):
        payoff = np.sign(random_payoffs(seed, 8, 8))
        payoff = np.triu(payoff, 1) - np.triu(payoff, 1).T
        payoff[0] = payoff[1]  # a copy, but for the draw between both
        payoff[:, 0], payoff[0, :2], payoff[1, 0] = -payoff[0], 0, 0
        p, skill = nash_averaging(payoff)
        other, _ = zero_sum(payoff)
        assert skill.max() < 1e-9
        assert p[0] == pytest.approx(p[1], abs=1e-9)
        for share in (1e-3, 0.5):
            assert entropy((1 - share) * p + share * other) <= entropy(p) + 1e-12


@pytest.mark.parametrize("name", META)
def test_meta_solvers_defect_and_take_any_number_of_players(name):
    result = META[name](DILEMMA)
    expected = 1 / 2 if name == "uniform" else 1
    assert [own[1] for own in result] == pytest.approx([expected] * 2, abs=0.02)
    assert [len(own) for own in META[name](random_payoffs(16, 3, 2, 3, 4))] == [2, 3, 4]
    assert np.concatenate(META[name](PENNIES)) == pytest.approx(np.full(4, 0.5), abs=0.01)


@pytest.mark.parametrize("method", META)
def test_a_matrix_game_is_solved_in_its_first_iteration(method):
    game = MatrixGame("chicken")
    profile, expected = TabularSpec().profile(game), META[method](load_classic("chicken"))
    progress = next(NormalForm(method).solve(profile, ExactResponder(game)))
    assert stack_tables(profile)[2:] == pytest.approx(np.concatenate(expected))
    assert progress.metrics["nash_conv"] == pytest.approx(nash_conv(load_classic("chicken"), expected), abs=1e-12)


def test_all_equilibria_by_hand():
    """For chicken both pure ones and (1/3, 2/3); for meeting at one of six places one for each set of places."""
    result = all_equilibria(CHICKEN)
    assert [np.concatenate(each).tolist() for each in result] == [
        [1, 0, 0, 1],
        pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3], abs=1e-15),
        [0, 1, 1, 0],
    ]
    assert len(all_equilibria(np.stack([np.eye(6)] * 2))) == 2**6 - 1
    assert len(all_equilibria(np.zeros((2, 2, 3)))) == 6
    assert [own.tolist() for own in all_equilibria(np.array([[[1.0, 2.0, 2.0]], [[1.0, 2.0, 2.0]]]))[1]] == [
        [1],
        [0, 0, 1],
    ]
    assert [own[1] for own in all_equilibria(DILEMMA)[0]] == [1, 1]


@pytest.mark.parametrize("is_whole", [False, True])
def test_all_equilibria_are_quantecons_and_more_where_there_are_infinitely_many(is_whole):
    """For integer payoffs from 0 to 3, with ties: each result is an equilibrium, and all of QuantEcon's are
    found.
    """
    from quantecon.game_theory import NormalFormGame, Player, support_enumeration, vertex_enumeration

    random = np.random.default_rng(0)
    for _ in range(20):
        payoffs = random.integers(0, 4, (2, 3, 4)).astype(float) if is_whole else random.normal(size=(2, 4, 5))
        result = all_equilibria(payoffs)
        assert max(regrets(payoffs, each).max() for each in result) < 1e-12
        game = NormalFormGame((Player(payoffs[0]), Player(payoffs[1].T)))
        for reference in (*support_enumeration(game), *vertex_enumeration(game)):
            distances = [np.abs(np.concatenate(each) - np.concatenate(reference)).max() for each in result]
            assert min(distances) < 1e-9
        assert is_whole or len(result) == len(vertex_enumeration(game))


def test_all_equilibria_in_the_metrics():
    game = MatrixGame("chicken")
    profile = TabularSpec().profile(game)
    metrics = next(NormalForm("all").solve(profile, ExactResponder(game))).metrics
    assert metrics["equilibria"] == 3
    assert [metrics[f"equilibrium/1/{seat}/0"] for seat in (0, 1)] == pytest.approx([1 / 3, 1 / 3])
    assert stack_tables(profile)[2:].tolist() == pytest.approx([1 / 3, 2 / 3] * 2)  # 14/3 each, and 9 in a pure one
    with pytest.raises(ValueError, match="two players with up to 12 actions each, not of 3 with 2, 2, 2"):
        NormalForm("all").solve(
            TabularSpec().profile(MatrixGame("matching_pennies_3p")), ExactResponder(MatrixGame("matching_pennies_3p"))
        )


def test_games_that_take_more_than_one_choice_are_refused():
    from games.openspiel.game import OpenSpiel

    game = OpenSpiel("kuhn_poker")
    with pytest.raises(ValueError, match="every player chooses once"):
        NormalForm().solve(TabularSpec().profile(game), ExactResponder(game))
    with pytest.raises(ValueError, match="one of uniform, nash"):
        NormalForm("simplex")
    assert payoff_array(OpenSpiel("matrix_sh").form) == pytest.approx(np.array([[[2, 0], [1, 1]], [[2, 1], [0, 1]]]))


def test_payoffs_and_forms_are_two_views_of_a_game(tmp_path):
    payoffs = random_payoffs(17, 3, 2, 3, 4)
    np.save(tmp_path / "three.npy", payoffs)
    assert payoff_array(MatrixGame(payoffs=str(tmp_path / "three.npy")).form) == pytest.approx(payoffs, abs=1e-12)
    assert regrets(payoffs, uniform_strategies(payoffs)).max() > 0.1


@pytest.mark.parametrize(
    ("strategies", "sentence"),
    [
        ([[0.0, 0.0], [0.0, 0.0]], "the strategy of player 0 must be chances that add up to 1, not to 0"),
        ([[0.5, 0.5], [1.5, -0.5]], "the strategy of player 1 must be chances of 0 or more, not -0.5"),
        ([[0.5, np.nan], [0.5, 0.5]], "the strategy of player 0 must be finite numbers"),
        ([[0.5, 0.5], [1.0]], r"strategies must have \[2, 2\] chances, player by player, not"),
        ([[0.5, 0.5]], r"strategies must have \[2, 2\] chances, player by player, not"),
    ],
)
def test_what_are_no_strategies_get_no_score(strategies, sentence):
    """Zeros would have no regret."""
    with pytest.raises(ValueError, match=sentence):
        nash_conv(CHICKEN, [np.array(each) for each in strategies])


@pytest.mark.parametrize("regrets_of", [ce_regrets, cce_regrets])
def test_what_is_no_joint_distribution_gets_no_score(regrets_of):
    with pytest.raises(ValueError, match="joint must be chances that add up to 1, not to 0"):
        regrets_of(CHICKEN, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"joint must be chances of shape \(2, 2\), not \(4,\)"):
        regrets_of(CHICKEN, np.full(4, 0.25))


def test_starts_of_another_game_are_refused():
    payoffs = random_payoffs(3, 2, 2, 3)
    with pytest.raises(ValueError, match=r"strategies must have \[2, 3\] chances"):
        replicator(payoffs, [np.full(3, 1 / 3), np.full(2, 1 / 2)], steps=1)


def test_the_last_correction_of_a_point_of_the_path_is_examined(monkeypatch):
    """One Newton step fewer than a guess needs does not do, and so many do."""
    game = logit.scale_game(random_payoffs(5, 2, 3, 3))
    guess, plane = np.append(np.full(6, -1.0), 3.0), np.eye(7)[-1]
    monkeypatch.setattr(logit, "CORRECTIONS", 20)
    steps = []
    solve = logit.solve_linear
    monkeypatch.setattr(logit, "solve_linear", lambda *each: steps.append(1) or solve(*each))
    point = logit.correct(game, guess, plane)
    needed = len(steps)
    assert needed > 1
    monkeypatch.setattr(logit, "CORRECTIONS", needed - 1)
    assert logit.correct(game, guess, plane) is None
    monkeypatch.setattr(logit, "CORRECTIONS", needed)
    np.testing.assert_array_equal(logit.correct(game, guess, plane), point)


def test_equal_vertices_on_two_sides_of_a_rounding_boundary_are_one():
    rows = np.array([[0.25], [0.49999999e-9], [0.50000001e-9], [1.0], [0.25 + 1e-12]])
    assert distinct_rows(rows) == [0, 1, 3]
