"""Results do not depend on the unit and zero of payoffs, nor on the order of actions and players."""

from dataclasses import fields, replace

import numpy as np
import pytest
from settings import Setting, make, presets, refusals, section

from games.normal_form.catalogue import load_classic
from games.normal_form.games import OneShotGame
from games.openspiel.game import OpenSpiel
from marl_engine.evaluation.exploitability import measure_exactly
from marl_engine.extensive_form.reduced_normal_form import reduce_to_normal_form
from marl_engine.extensive_form.sequence_form import (
    expected_payoffs,
    gains,
    nash_conv,
    realization_plan,
    uniform_strategy,
)
from marl_engine.policies.tabular import TabularSpec, fill_tables, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.cfr.cfr import CFR
from solvers.normal_form.alpha_rank import alpha_rank
from solvers.normal_form.catalogue import META
from solvers.normal_form.correlated import cce_regrets, ce_regrets, correlated_equilibrium
from solvers.normal_form.dynamics import replicator
from solvers.normal_form.enumeration import all_equilibria
from solvers.normal_form.logit import logit_equilibrium
from solvers.normal_form.regrets import nash_conv as meta_nash_conv
from solvers.normal_form.solver import NormalForm, payoff_array
from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle

ELSEWHERE = {"external_mccfr", "outcome_mccfr", "mdpo", "lola", "trajectory_spo", "reward_model"}  # no matrix, no table
ON_TABLES = {name: Setting("matrix", name, "table", "exact") for name in presets("solver") if name not in ELSEWHERE}
SOLVERS = {  # the first of presets that set the same
    section(setting, "solver"): name
    for name, setting in reversed(ON_TABLES.items())
    if refusals("matrix", "table")[setting] is None
}.values()
ITERATIONS = 20
CHICKEN = load_classic("chicken")
DIFFERENCES = np.array([[0.0, 2.0], [1.0, 0.0]])  # of payoffs; the rows are played (1/3, 2/3), the columns (2/3, 1/3)


class OwnMatrix(OneShotGame):
    """A game of payoffs (P, A, B, …)."""

    device = "cpu"

    def __init__(self, earns: np.ndarray):
        self._make(np.array(earns, float))


def draw_game(zero_sum: bool) -> np.ndarray:
    """Returns payoffs (2, 3, 4), multiples of 1/4, with a single, mixed equilibrium."""
    for seed in range(1000):
        earns = np.random.default_rng(seed).integers(-40, 41, (2, 3, 4)) / 4
        earns[1] = -earns[0] if zero_sum else earns[1]
        equilibria = all_equilibria(earns)
        if len(equilibria) == 1 and (equilibria[0][0] > 0).sum() > 1:
            return earns
    raise AssertionError("there is none")


ZERO_SUM = ("anytime_double_oracle", "anytime_psro")  # solvers that take no other games
GAMES = {"zero-sum": draw_game(True), "general-sum": draw_game(False)}


def run(solver, earns, iterations=ITERATIONS):
    """Returns each player's strategy after some iterations, and its distance from equilibrium."""
    game = OwnMatrix(earns)
    profile = TabularSpec().profile(game)
    for progress in solver.solve(profile, ExactResponder(game)):
        if progress.iteration >= iterations:
            break
    strategy = stack_tables(profile)[len(earns) :]
    strategies = np.split(strategy, np.cumsum(earns.shape[1:])[:-1])
    return strategies, nash_conv(
        game.form, realization_plan(game.form, np.concatenate([np.ones(len(earns)), strategy]))
    )


def in_unit(solver, unit):
    """Returns the solver with its parameters converted to another unit of payoffs."""
    names = {field.name for field in fields(solver)}
    numbers = {name: getattr(solver, name) * unit for name in names & {"magnet_weight", "tax"}}
    numbers |= {name: getattr(solver, name) / unit for name in names & {"step_size"}}
    return replace(solver, **numbers)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in SOLVERS for kind in GAMES if kind == "zero-sum" or name not in ZERO_SUM],
)
def test_solvers_know_neither_zero_nor_unit_nor_order(name, kind):
    earns, solver = GAMES[kind], make("solver", section(ON_TABLES[name], "solver"))
    if isinstance(solver, CFR):
        solver = replace(solver, alternating=False)  # else who learns first matters
    expected, distance = run(replace(solver), earns)

    shifted, there = run(replace(solver), earns + np.array([1e9, -3e7])[:, None, None])
    assert np.concatenate(shifted) == pytest.approx(np.concatenate(expected), abs=1e-7)
    assert there == pytest.approx(distance, abs=1e-6)

    for unit in (1e-46, 1e39):
        scaled, there = run(in_unit(solver, unit), earns * unit)
        assert np.concatenate(scaled) == pytest.approx(np.concatenate(expected), abs=1e-7)
        assert there / unit == pytest.approx(distance, abs=1e-6)

    rows, columns = [2, 0, 1], [1, 3, 0, 2]
    permuted, _ = run(replace(solver), earns[:, rows][:, :, columns])
    assert permuted[0] == pytest.approx(expected[0][rows], abs=1e-7)
    assert permuted[1] == pytest.approx(expected[1][columns], abs=1e-7)

    exchanged, _ = run(replace(solver), earns[::-1].transpose(0, 2, 1))
    assert np.concatenate(exchanged[::-1]) == pytest.approx(np.concatenate(expected), abs=1e-7)


@pytest.mark.parametrize("kind", GAMES)
@pytest.mark.parametrize("name", META)
def test_meta_solvers_know_neither_zero_nor_unit(name, kind):
    """Units are powers of two, since other roundings would break ties of fictitious play."""
    earns = GAMES[kind]
    expected = np.concatenate(META[name](earns))
    for other in (earns + np.array([1e9, -3e7])[:, None, None], earns * 2.0**130, earns * 2.0**-152):
        assert np.concatenate(META[name](other)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("zero", "unit", "slack"),
    [(0.0, 0.1, 1e-12), (1e5, 0.01, 1e-8), (1e10, 1.0, 1e-12), (0.0, 1e39, 1e-12), (0.0, 1e-46, 1e-12)],
)
def test_payoffs_are_solved_to_their_last_digit(zero, unit, slack):
    """Payoffs differ in the eleventh digit of 1e5, and the equilibrium has the remaining precision."""
    row = zero + unit * DIFFERENCES
    game = OwnMatrix(np.stack([row, -row]))
    profile = TabularSpec().profile(game)
    metrics = next(NormalForm().solve(profile, ExactResponder(game))).metrics
    assert stack_tables(profile)[2:] == pytest.approx(np.array([1, 2, 2, 1]) / 3, abs=slack)
    assert metrics["nash_conv"] <= slack * 2 * unit
    assert metrics["value/0"] == pytest.approx(zero + unit * 2 / 3, rel=1e-14)
    assert payoff_array(game.form)[0] == pytest.approx(row, rel=1e-15)


def test_a_form_gives_its_payoffs_in_float64():
    """They are integers times a unit, relative to the middle of each player's range."""
    form = OpenSpiel("leduc_poker").form
    assert form.units.dtype == np.int32
    assert form.payoff.dtype == np.float64
    form = OwnMatrix(CHICKEN + 1e6).form
    plan = realization_plan(form, uniform_strategy(form))
    assert form.centre == pytest.approx([1e6 + 3.5] * 2, rel=1e-15)
    assert expected_payoffs(form, plan) == pytest.approx([1e6 + 3.75] * 2, rel=1e-15)
    assert expected_payoffs(form, plan) + gains(form, plan) == pytest.approx([1e6 + 4.0] * 2, rel=1e-15)
    assert reduce_to_normal_form(form) == pytest.approx(CHICKEN + 1e6, rel=1e-15)


def test_the_double_oracle_that_guards_itself_looks_at_differences():
    row = load_classic("biased_rock_paper_scissors")[0] + 1e6
    _, distance = run(AnytimeDoubleOracle(), np.stack([row, -row]), 10)
    assert distance < 1e-5


def test_quantal_responses_and_correlated_equilibria_from_any_zero():
    expected = np.concatenate(logit_equilibrium(CHICKEN, 0.7))
    assert np.concatenate(logit_equilibrium(CHICKEN + 1e4, 0.7)) == pytest.approx(expected, abs=1e-10)
    assert np.concatenate(logit_equilibrium(CHICKEN * 1e39, 0.7e-39)) == pytest.approx(expected, abs=1e-10)
    for kind, best in (("ce", 10.5), ("cce", 10.5)):
        assert (CHICKEN * correlated_equilibrium(CHICKEN + 1e12, kind)).sum() == pytest.approx(best)
    earns = np.array([[1.0, 0.0], [0.0, 1.0]]) + 1e12
    assert (correlated_equilibrium(CHICKEN, "ce", earns) * (earns - 1e12)).sum() == pytest.approx(
        (correlated_equilibrium(CHICKEN, "ce", earns - 1e12) * (earns - 1e12)).sum()
    )


def test_what_deviations_gain_from_any_zero():
    strategies, joint = [np.array([0.5, 0.5]), np.array([0.25, 0.75])], np.array([[0.125, 0.375], [0.25, 0.25]])
    for zero in (1e6, 1e12):
        assert meta_nash_conv(CHICKEN + zero, strategies) == meta_nash_conv(CHICKEN, strategies)
        assert ce_regrets(CHICKEN + zero, joint) == pytest.approx(ce_regrets(CHICKEN, joint), abs=1e-15)
        assert cce_regrets(CHICKEN + zero, joint) == pytest.approx(cce_regrets(CHICKEN, joint), abs=1e-15)
        results = []
        for earns in (CHICKEN, CHICKEN + zero):
            game = OwnMatrix(earns)
            profile = TabularSpec().profile(game)
            fill_tables(profile, np.concatenate([np.ones(2), *strategies]))
            results.append(measure_exactly(game, profile))
        assert [results[1][f"gain/{seat}"] for seat in (0, 1)] == [results[0][f"gain/{seat}"] for seat in (0, 1)]
        assert results[1]["nash_conv"] == results[0]["nash_conv"] > 0


def test_alpha_rank_takes_what_rounding_sets_apart_for_the_same():
    """All payoffs are 0.1 + 0.2 or 0.3."""
    same = np.array([[0.3, 0.1 + 0.2], [0.1 + 0.2, 0.3]])
    for zero in (0.0, 1e6):
        earns = np.stack([same, 0.3 - same + 0.7]) + zero
        assert alpha_rank(earns) == pytest.approx(np.full((2, 2), 1 / 4), abs=1e-9)


def test_replicators_turn_alike_from_any_zero():
    start = [np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.1, 0.4])]
    earns = GAMES["general-sum"]
    strategies = replicator(earns + 1e9, start, 100, 1e-2)
    assert np.concatenate(strategies) == pytest.approx(np.concatenate(replicator(earns, start, 100, 1e-2)), abs=1e-9)
