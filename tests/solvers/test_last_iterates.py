"""Last iterates that converge to an equilibrium of the game itself, and equivalent forms of their updates."""

from itertools import islice

import numpy as np
import pytest
import torch

from games.normal_form.catalogue import PREFERENCES
from games.normal_form.games import PreferenceMatrix
from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.regularised import GAPS, backup_dilated, duality_gap
from marl_engine.extensive_form.sequence_form import compute_gradient, nash_conv, realization_plan, uniform_strategy
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.omwu import OMWU
from solvers.mirror_descent.r_nad import RNaD, tax_strategies

START = (0.6, 0.3, 0.1)


def after(solver, game, *iterations):
    """Returns NashConv after some iterations, and the first seat's strategy at the end."""
    profile = TabularSpec().profile(game)
    metrics = [step.metrics for step in islice(solver.solve(profile, ExactResponder(game)), max(iterations))]
    return [metrics[iteration - 1]["nash_conv"] for iteration in iterations], profile[0].strategy.numpy()


def test_optimistic_weights_are_explicit_steps_with_a_forecast():
    """pi ~ pi * exp(step * (2 q - q before)), the form of Daskalakis and Panageas."""
    game, preference = PreferenceMatrix("cycle", reference=START), np.array(PREFERENCES["cycle"])
    profile, here, before = TabularSpec().profile(game), np.array(START), None
    for _ in islice(OMWU(0.7).solve(profile, ExactResponder(game)), 50):
        q = preference @ here
        here = here * np.exp(0.7 * (2 * q - (0 if before is None else before)))
        here, before = here / here.sum(), q
        assert profile[0].strategy.numpy() == pytest.approx(here, abs=1e-12)


def test_optimistic_weights_converge_where_hedge_circles():
    (early, late), metrics = after(OMWU(1.0), PreferenceMatrix("cycle", reference=START), 100, 1000)
    assert (early, late) == (pytest.approx(0.0546, rel=0.01), pytest.approx(0, abs=1e-10))
    assert metrics == pytest.approx(np.array([4, 3, 4]) / 11, abs=1e-9)
    (last,), _ = after(MMD(0.5, magnet_weight=0), PreferenceMatrix("cycle", reference=START), 5000)
    assert last > 0.4


def test_optimistic_weights_with_a_pull_go_to_the_regularised_equilibrium():
    _, metrics = after(OMWU(0.5, magnet_weight=0.1), PreferenceMatrix("cycle", reference=START), 1000)
    assert metrics == pytest.approx([0.30479773, 0.42474706, 0.27045521], abs=1e-7)


def test_optimistic_weights_solve_kuhn_poker():
    (metrics,), _ = after(OMWU(1.0), OpenSpiel("kuhn_poker"), 1000)
    assert metrics == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("step_size", "magnet_weight", "interval", "moves"), [(1.0, 0.3, 12, 100), (0.5, 0.1, 50, 20)])
def test_comal_solves_the_game_by_solving_regularised_ones(step_size, magnet_weight, interval, moves):
    solver = MMD(step_size, magnet_weight, move_every=interval)
    (metrics,), strategy = after(solver, PreferenceMatrix("cycle", reference=START), interval * moves)
    assert metrics == pytest.approx(0, abs=1.1e-8)
    assert strategy == pytest.approx(np.array([4, 3, 4]) / 11, abs=1e-7)


def test_r_nad_ends_at_the_equilibrium_and_without_moves_at_the_regularised_one():
    game = PreferenceMatrix("rock_paper_scissors", reference=START)
    _, metrics = after(RNaD(), game, 2000)
    assert metrics == pytest.approx(np.full(3, 1 / 3), abs=1e-3)
    _, stopped = after(RNaD(tax=0.1, move_every=10**6), game, 5000)
    assert stopped == pytest.approx([0.43206532, 0.23032931, 0.33760536], abs=1e-7)


def test_r_nad_solves_kuhn_poker():
    (metrics,), _ = after(RNaD(), OpenSpiel("kuhn_poker"), 5000)
    assert metrics == pytest.approx(0, abs=1e-9)


def test_a_tax_is_paid_to_the_other_along_the_whole_path():
    """For a pure line of play, by hand: the payoff of its end minus and plus the sums of log-ratios."""
    game = OpenSpiel("kuhn_poker")
    form, generator = game.form, np.random.default_rng(0)
    strategy, reference = (np.exp(generator.normal(size=form.sequences)) * uniform_strategy(form) for _ in range(2))
    strategy[:2] = reference[:2] = 1
    changed = tax_strategies(form, strategy, reference, 0.3)
    ratio, parent = np.log(strategy / reference), {}
    for infoset, before in enumerate(form.parent):
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            parent[sequence] = int(before)

    def along(sequence):
        return 0.0 if sequence < 2 else ratio[sequence] + along(parent[sequence])

    for sequence in range(form.sequences):
        for entry in range(form.entry[sequence], form.entry[sequence + 1]):
            paid = 0.3 * form.chance[entry] * (along(int(form.others[entry, 0])) - along(sequence))
            assert changed.payoff[entry] == pytest.approx(form.payoff[entry] + paid, abs=1e-12)


def test_the_gap_of_a_tree_vanishes_at_the_agent_equilibrium_alone():
    game = OpenSpiel("kuhn_poker")
    profile = TabularSpec().profile(game)
    gaps = [
        step.metrics["gap"] for step in islice(MMD(0.1, magnet_weight=0.5).solve(profile, ExactResponder(game)), 600)
    ]
    assert gaps[0] > 0.05
    assert gaps[-1] == pytest.approx(0, abs=1e-9)
    assert min(gaps) > -1e-12


def test_without_a_pull_the_gap_of_a_matrix_is_its_nash_conv():
    form, strategy = PreferenceMatrix("cycle").form, np.array([1, 1, *START, 0.2, 0.5, 0.3])
    assert duality_gap(form, strategy, uniform_strategy(form), 0) == pytest.approx(
        nash_conv(form, realization_plan(form, strategy)), abs=1e-12
    )


def test_dilated_and_behavioral_steps_are_the_same_where_everybody_decides_once():
    game = PreferenceMatrix("cycle", reference=START)
    behavioral, dilated = (TabularSpec().profile(game) for _ in range(2))
    for profile, divergence in ((behavioral, "behavioral"), (dilated, "dilated")):
        responder = ExactResponder(game, divergence=divergence)
        steps = [step.metrics["gap"] for step in islice(MMD().solve(profile, responder), 20)]
        assert steps[-1] > 1e-3
    strategies = [np.concatenate([policy.strategy.numpy() for policy in each]) for each in (behavioral, dilated)]
    assert strategies[0] == pytest.approx(strategies[1], abs=1e-14)
    gaps = [gap(game.form, np.append([1, 1], strategies[0]), uniform_strategy(game.form), 0.1) for gap in GAPS.values()]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-14)


def test_a_dilated_step_maximises_payoff_minus_dilated_divergence():
    """No other strategy of Kuhn poker does better, of those near it and of those far from it."""
    form, generator = OpenSpiel("kuhn_poker").form, np.random.default_rng(0)
    anchor = random_strategy(form, generator)
    gradient = np.empty(form.sequences)
    compute_gradient(form, realization_plan(form, anchor), gradient)

    def objective(strategy):
        plan = realization_plan(form, strategy)
        return plan @ gradient - 0.3 * (plan * np.log(strategy / anchor)).sum()

    best, values = backup_dilated(form, gradient, [(0.3, anchor)])
    assert objective(best) == pytest.approx(values.sum(), abs=1e-12)
    for distance in (0.01, 0.1, 1.0):
        others = [best * (1 - distance) + distance * random_strategy(form, generator) for _ in range(20)]
        assert all(objective(other) < values.sum() for other in others)


def random_strategy(form, generator):
    """Returns a strategy (S,) with random probabilities above 0."""
    odds = np.exp(generator.normal(size=form.sequences))
    odds[: form.players] = 1
    totals = np.add.reduceat(odds, form.first[:-1])
    return odds / np.concatenate([np.ones(form.players), np.repeat(totals, np.diff(form.first))])


def test_dilated_gaps_vanish_at_the_regularised_equilibrium_alone():
    game = OpenSpiel("kuhn_poker")
    responder, profile = ExactResponder(game, divergence="dilated"), TabularSpec().profile(game)
    gaps = [step.metrics["gap"] for step in islice(MMD(0.5, magnet_weight=0.1).solve(profile, responder), 600)]
    assert gaps[0] > 0.05
    assert gaps[-1] == pytest.approx(0, abs=1e-9)
    assert min(gaps) > -1e-12


@pytest.mark.parametrize(
    ("solver", "bound"),
    [
        (OMWU(6, magnet_weight=0.5, anneal=True), 0.07),
        (MMD(1.5, magnet_weight=0.005, move_every=200, first_share=0.1), 0.4),
    ],
)
def test_last_iterates_approach_an_equilibrium_of_leduc_poker(solver, bound):
    """With behavioral steps and no magnet, NashConv of OMWU stays between 1 and 4."""
    game = OpenSpiel("leduc_poker")
    profile = TabularSpec().profile(game)
    responder = ExactResponder(game, divergence="dilated")
    *_, last = islice(solver.solve(profile, responder), 700)
    assert last.metrics["nash_conv"] < bound


def test_the_magnet_keeps_a_share_of_the_first_profile():
    game = OpenSpiel("kuhn_poker")
    first, last = TabularSpec().profile(game), TabularSpec().profile(game)
    last[0].strategy[:] = torch.tensor([1.0, 0.0] * 6)
    magnet = MMD(move_every=1, first_share=0.2).mix_magnet(last, first, moves=4)
    assert magnet[0].strategy[:2].tolist() == pytest.approx([0.975, 0.025])


def test_dilated_steps_are_those_of_openspiel():
    """Recorded from MMDDilatedEnt("leduc_poker", alpha=0.05) of OpenSpiel 2.0.2, whose magnet is entropy alone."""
    form = OpenSpiel("leduc_poker").form
    strategy, entropy, gradient = uniform_strategy(form), np.ones(form.sequences), np.empty(form.sequences)
    distances = []
    for _ in range(26):
        compute_gradient(form, realization_plan(form, strategy), gradient)
        strategy, _ = backup_dilated(form, gradient, [(1 / 4.260355029585798, strategy), (0.05, entropy)])
        distances.append(nash_conv(form, realization_plan(form, strategy)))
    recorded = [4.960281116337898, 3.8489338498246086, 3.253892350629294]
    assert [distances[iteration - 1] for iteration in (1, 6, 26)] == pytest.approx(recorded, abs=1e-9)
