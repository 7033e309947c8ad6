"""Sampled regrets are exact in expectation, and NashConv falls as fast as it should."""

from itertools import product

import numpy as np
import pyspiel
import pytest

from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.paths import paths
from marl_engine.extensive_form.sequence_form import (
    backup_action_values,
    behavior_strategy,
    compute_gradient,
    nash_conv,
    realization_plan,
)
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.cfr.mccfr import MCCFR, NO_UNIFORMS
from solvers.cfr.tree_sampling import allocate_state, traverse

EXPLORATION = {"external": 0.0, "outcome": 0.5}
DECKS = {"kuhn_poker": (3, 2), "kuhn_poker(players=3)": (4, 3, 2)}  # cards that chance has left at each draw


def quarters(form):
    """Returns a strategy (S,) of 1/4, 1/2 and 3/4 in games of two actions, different in neighbouring information
    sets.
    """
    first = np.resize([1, 3, 2], len(form.parent)) / 4
    return np.concatenate([np.ones(form.players), np.stack([first, 1 - first], axis=1).ravel()])


def expected(game, exploration, player, strategy, grids):
    """Returns the mean contribution of a traversal to regrets and to the average, (S,) each, over all draws on grids.

    The strategy is that of regret matching. Draw k takes grids[k] equally probable values.
    """
    tree, added = paths(game.tree, game.form), np.zeros((2, game.form.sequences))
    for noise in product(*(np.arange(0.5, grid) / grid for grid in grids)):
        state = allocate_state(strategy.copy(), np.zeros_like(strategy))
        traverse(tree, state, exploration, 0, player, 1, np.array(noise))
        added += state.regret - strategy, state.total
    return added / np.prod(grids)


def counterfactual_regrets(form, strategy, player):
    """Returns those of one player (S,), from the sequence form; 0 for the others."""
    value = np.empty_like(strategy)
    compute_gradient(form, realization_plan(form, strategy), value)
    backup_action_values(form, strategy, value)
    mean = np.add.reduceat(strategy * value, form.first[:-1].astype(int))
    regret = value - np.concatenate([np.zeros(form.players), np.repeat(mean, np.diff(form.first))])
    return np.where(owner(form) == player, regret, 0.0)


def owner(form):
    """Returns the player (S,) of each sequence, -1 for empty ones."""
    players = np.repeat(np.arange(form.players), np.diff(form.begin))
    return np.concatenate([np.full(form.players, -1), np.repeat(players, np.diff(form.first))])


def allowed(game):
    """Returns the probability (S,) of chance to reach the information set of each sequence."""
    tree, legal_ = game.tree, np.zeros(len(game.form.parent))
    waiting = [(0, 1.0)]
    while waiting:
        history, chance = waiting.pop()
        if tree.player[history] >= 0:
            legal_[tree.infoset[history]] += chance
        children = range(tree.child[history], tree.child[history + 1])
        waiting += [(tree.to[child], chance * tree.chance[child]) for child in children]
    return np.concatenate([np.zeros(game.players), np.repeat(legal_, np.diff(game.form.first))])


@pytest.mark.parametrize(
    ("name", "sampling", "player", "draws"),
    [
        ("kuhn_poker", "external", 0, (4, 4)),
        ("kuhn_poker", "external", 1, (4, 4)),
        ("kuhn_poker", "outcome", 0, (8, 8, 8)),
        ("kuhn_poker", "outcome", 1, (8, 8, 8)),
        ("kuhn_poker(players=3)", "external", 1, (4, 4, 4, 4, 4)),
    ],
)
def test_sampled_regrets_are_counterfactual_regrets_in_expectation(name, sampling, player, draws):
    """Over all possible draws. Averages grow by realization plans times the probability of chance."""
    game = OpenSpiel(name)
    strategy = quarters(game.form)
    regret, total = expected(game, EXPLORATION[sampling], player, strategy, DECKS[name] + draws)
    assert regret == pytest.approx(counterfactual_regrets(game.form, strategy, player), abs=1e-12)
    following = owner(game.form) == (player + 1) % game.players
    assert total == pytest.approx(
        np.where(following, realization_plan(game.form, strategy) * allowed(game), 0), abs=1e-12
    )


def distances(exploration, seeds, *counts, name="kuhn_poker"):
    """Returns NashConv (seeds, counts) of the average after some iterations."""
    game = OpenSpiel(name)
    tree, form, values = paths(game.tree, game.form), game.form, []
    for seed in range(seeds):
        state = allocate_state(*np.zeros((2, form.sequences)))
        for before, now in zip((0, *counts), counts, strict=False):
            first, count = game.players * before, game.players * (now - before)
            traverse(tree, state, exploration, seed, first, count, NO_UNIFORMS)
            values.append(nash_conv(form, realization_plan(form, behavior_strategy(form, state.total))))
    return np.reshape(values, (seeds, len(counts)))


@pytest.mark.parametrize("exploration", [0.0, 0.6])
def test_as_good_as_openspiels_after_as_many_iterations(exploration):
    """Geometric means over 40 seeds, with standard errors of about 5 % on both sides."""
    game, results = pyspiel.load_game("kuhn_poker"), []
    for seed in range(1, 41):
        solver = (
            pyspiel.OutcomeSamplingMCCFRSolver(game, exploration, seed)
            if exploration
            else pyspiel.ExternalSamplingMCCFRSolver(game, seed)
        )
        for iteration in range(1, 1001):
            solver.run_iteration()
            if iteration in (100, 1000):
                results.append(pyspiel.nash_conv(game, solver.average_policy(), True))
    reference = np.log(np.reshape(results, (40, 2))).mean(0)
    actual = np.log(distances(exploration, 40, 100, 1000)).mean(0)
    assert actual == pytest.approx(reference, abs=0.2)


@pytest.mark.parametrize("exploration", [0.0, 0.6])
def test_nash_conv_falls_as_one_over_the_root_of_traversals(exploration):
    early, late = np.log(distances(exploration, 16, 1000, 100_000)).mean(0)
    assert (early - late) / np.log(100) == pytest.approx(0.5, abs=0.1)


def solve_kuhn(sampling, iterations, traversals=10, seed=3, cut=None):
    """Returns the tables of three players after some iterations, continued by a new solver after `cut` of them."""
    game = OpenSpiel("kuhn_poker(players=3)")
    profile, state = TabularSpec().profile(game), {"learned": None}
    for after, until in ((0, cut), (cut, iterations)) if cut else ((0, iterations),):
        solver = MCCFR(sampling, traversals=traversals)
        set_state(solver, state)
        for progress in solver.solve(profile, ExactResponder(game, seed=seed), after=after):
            if progress.iteration == until:
                break
        state = get_state(solver)
    return stack_tables(profile)


@pytest.mark.parametrize("sampling", ["external", "outcome"])
def test_draws_depend_on_the_seed_and_the_number_of_the_traversal_alone(sampling):
    strategy = solve_kuhn(sampling, 6)
    assert np.array_equal(strategy, solve_kuhn(sampling, 6, cut=2))
    assert np.array_equal(strategy, solve_kuhn(sampling, 1, traversals=60))
    assert not np.array_equal(strategy, solve_kuhn(sampling, 6, seed=4))


@pytest.mark.parametrize("exploration", [0.0, 0.6])
def test_three_players_come_nearer_to_an_equilibrium(exploration):
    early, late = np.exp(np.log(distances(exploration, 8, 1000, 100_000, name="kuhn_poker(players=3)")).mean(0))
    assert late < early / 4


def test_what_is_refused():
    game = MatrixGame("chicken")
    with pytest.raises(ValueError, match=r"MatrixGame has .*: MCCFR needs `tree`"):
        MCCFR().solve(TabularSpec().profile(game), ExactResponder(game))
    with pytest.raises(ValueError, match="one of external, outcome, not 'robust'"):
        MCCFR(sampling="robust")
    with pytest.raises(ValueError, match="above 0 and at most 1, not 0"):
        MCCFR(sampling="outcome", exploration=0)
