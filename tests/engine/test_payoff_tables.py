"""Populations: payoff tables with their uncertainty, and the file of matches behind them."""

import os
import signal
import sqlite3
from copy import deepcopy
from itertools import islice
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from marl_engine.errors import Refused
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies import MLPSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.populations import MatchFile, PayoffTable, Population
from marl_engine.populations.matches import Match
from marl_engine.populations.measures import choose_measure
from marl_engine.populations.payoffs import Tally, exact_tally, merge_tallies, tally_games
from marl_engine.populations.uncertainty import bootstrap, draw_errors, most_uncertain, product_joint
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from marl_engine.runners import LOCAL
from solvers.normal_form.nash import nash
from solvers.normal_form.regrets import in_range
from solvers.normal_form.supports import pure_equilibrium
from solvers.populations import JPSRO, PSRO

FORK = get_context("fork")


def equal(one, other):
    """Whether two tallies have the same bits."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_tallies_of_parts_make_the_tally_of_all():
    games = np.random.default_rng(0).normal(1e6, 1, size=(1000, 2))  # far from 0: sums of squares would lose digits
    parts = tally_games(games[:300]), tally_games(games[300:301]), tally_games(games[301:])
    total = merge_tallies(merge_tallies(*parts[:2]), parts[2])
    assert total.mean == pytest.approx(games.mean(0), rel=1e-14)
    assert total.scatter / 999 == pytest.approx(np.cov(games.T), rel=1e-9)


def test_standard_errors_are_those_of_means():
    games, table = np.random.default_rng(1).normal(size=(50, 2)), PayoffTable(2)
    table.grow((1, 2))
    table.add((0, 0), tally_games(games))
    table.add((0, 1), exact_tally(np.array([3.0, -3.0])))
    assert table.error()[:, 0, 0] == pytest.approx(games.std(0, ddof=1) / 50**0.5)
    assert (table.error()[:, 0, 1] == 0).all()


def test_a_symmetric_table_is_played_by_half():
    """Payoffs of an exchanged cell are exchanged; against itself a member earns the same in both seats."""
    game = MatrixGame("rock_paper_scissors")
    assert game.symmetric
    population = Population(2, symmetric=True)
    for action in range(3):
        profile = TabularSpec().profile(game)[:1] * 2
        profile[0].strategy.copy_(torch.eye(3)[action])
        assert population.grow(profile) == 1
    counted = []

    def measure(cell):
        counted.append(cell)
        row, column = (int(member.strategy.argmax()) for member in cell.members)
        return exact_tally(game.earns.numpy()[:, row, column])

    assert population.fill(LOCAL, measure) == len(counted) == 6
    assert np.array_equal(population.payoffs.mean, game.earns.numpy())
    assert population.fill(LOCAL, measure) == 0


def test_three_seats_of_a_symmetric_table():
    """A cell fills all its exchanges: what a seat earns moves with its member."""
    table = PayoffTable(3, symmetric=True)
    table.grow((3, 3, 3))
    assert len(table.empty()) == 10  # multisets of three members out of three
    table.add((0, 1, 2), exact_tally(np.array([1.0, 2.0, 3.0])))
    assert table.mean[:, 2, 0, 1].tolist() == [3, 1, 2]
    table.add((0, 0, 1), exact_tally(np.array([1.0, 3.0, 5.0])))
    assert table.mean[:, 1, 0, 0].tolist() == [5, 2, 2]
    assert len(table.empty()) == 8


def test_resampled_zero_sum_games_stay_zero_sum():
    payoffs, generator = PayoffTable(2), np.random.default_rng(2)
    payoffs.grow((3, 3))
    for place in payoffs.empty():
        games = generator.normal(size=200)
        payoffs.add(place, tally_games(np.stack([games, -games], axis=1)))
    errors = draw_errors(payoffs, 500, generator)
    assert np.abs(errors.sum(1)).max() < 1e-12
    assert errors.std(0) == pytest.approx(payoffs.error(), rel=0.15)


def table_of(row, error, games=100):
    """Returns the payoff table of a zero-sum game (A, B) whose means have a standard error."""
    payoffs = PayoffTable(2)
    payoffs.grow(row.shape)
    for place in payoffs.empty():
        scatter = error**2 * games * (games - 1) * np.array([[1, -1], [-1, 1]])
        payoffs.add(place, Tally(games, np.array([row[place], -row[place]]), scatter))
    return payoffs


def solve_pure(payoffs):
    """Returns the joint distribution of a pure equilibrium."""
    equilibrium = pure_equilibrium(in_range(payoffs))
    assert equilibrium is not None
    return product_joint(equilibrium)


def test_the_value_of_a_pure_equilibrium_has_the_error_of_its_cell():
    """With a saddle point that no draw moves, the interval of the value is that of the saddle's mean payoff."""
    payoffs = table_of(np.array([[0.0, 9.0], [-9.0, 0.0]]), 0.1)
    uncertainty = bootstrap(payoffs, solve_pure, solve_pure(payoffs.mean), 4000, np.random.default_rng(0))
    assert uncertainty.value.low[0] == pytest.approx(-0.196, abs=0.015)
    assert uncertainty.value.high[0] == pytest.approx(0.196, abs=0.015)
    assert uncertainty.distance == 0
    assert most_uncertain(payoffs, uncertainty.importance, 100, 4) == [(0, 0)]


def test_intervals_of_exact_payoffs_have_no_width():
    payoffs = table_of(np.array([[1.0, -1.0], [-1.0, 1.0]]), 0.0)
    uncertainty = bootstrap(
        payoffs, lambda p: product_joint(nash(p)), np.full((2, 2), 0.25), 10, np.random.default_rng(0)
    )
    for interval in (uncertainty.value, *uncertainty.weights):
        assert np.array_equal(interval.low, interval.high)


def test_the_bootstrap_knows_how_much_a_value_varies_from_seed_to_seed():
    """The value of a fixed mixture in Kuhn poker, where the deals are most of the luck, in 60 tables."""
    game, random = OpenSpiel("kuhn_poker"), np.random.default_rng(0)
    values, deviations = [], []
    for seed in range(60):
        population = Population(2)
        for number in range(3):
            profile, generator = TabularSpec().profile(game), np.random.default_rng(number)
            for policy in profile:
                rows = [row[row >= 0] for row in policy.place]
                for row in rows:
                    policy.strategy[row] = torch.from_numpy(generator.dirichlet(np.ones(len(row))))
            population.grow(profile)
        population.fill(LOCAL, choose_measure(game, 50, seed), 50)
        values.append(population.payoffs.mean[0].mean())
        deviations.append(draw_errors(population.payoffs, 200, random)[:, 0].mean((1, 2)).std())
    assert np.mean(deviations) == pytest.approx(np.std(values), rel=0.3)  # 3 standard errors of the latter


def test_games_go_where_the_equilibrium_is_uncertain():
    """Of two equally probable cells the one with the larger error, and none that is never played."""
    payoffs = table_of(np.array([[1.0, -1.0, 5.0], [-1.0, 1.0, 5.0]]), 0.01)
    payoffs.scatter[..., 1, 1] *= 4
    uncertainty = bootstrap(
        payoffs, lambda p: product_joint(nash(p)), np.full((2, 3), 1 / 6), 50, np.random.default_rng(0)
    )
    cells = most_uncertain(payoffs, uncertainty.importance, 100, 6)
    assert cells[0] == (1, 1)
    assert set(cells) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def run_psro(folder, iterations, **fields):
    """Returns PSRO after some iterations in Kuhn poker with sampled payoffs, whose matches are kept in a folder."""
    game = OpenSpiel("kuhn_poker")
    solver = PSRO(games=40, refine=2, draws=20, **fields)
    solver.matches = MatchFile(folder)
    steps = list(islice(solver.solve(TabularSpec().profile(game), ExactResponder(game)), iterations))
    solver.matches.close()
    return solver.population, steps


def test_refined_cells_have_more_games(tmp_path):
    population, steps = run_psro(tmp_path, 5)
    games = population.payoffs.games
    assert games.min() == 40
    assert games.max() >= 80
    assert sum(step.work["queries"] for step in steps) == games.sum() / 40 + 5  # and one for each response
    last = steps[-1].metrics
    assert last["meta/value/0/low"] < last["meta/value/0"] < last["meta/value/0/high"]


def test_a_second_run_takes_its_matches_from_the_file(tmp_path):
    """Cells that were played before a kill are not played again, and have the same bits."""
    first, _ = run_psro(tmp_path, 3)
    stored = sqlite3.connect(tmp_path / "matches.sqlite").execute("SELECT COUNT(*), SUM(games) FROM matches").fetchone()
    assert stored[1] == first.payoffs.games.sum()
    again, _ = run_psro(tmp_path, 3)
    elsewhere, _ = run_psro(tmp_path / "other", 3)
    for other in (again, elsewhere):
        assert np.array_equal(first.payoffs.mean, other.payoffs.mean)
        assert np.array_equal(first.payoffs.scatter, other.payoffs.scatter)
    rows = sqlite3.connect(tmp_path / "matches.sqlite").execute("SELECT COUNT(*), SUM(games) FROM matches").fetchone()
    assert rows == stored


def test_stored_matches_are_not_played():
    game = MatrixGame("matching_pennies")
    population, played = Population(2), []
    population.grow(TabularSpec().profile(game))

    class Stored:
        def find(self, matches):
            return {match: Tally(match.games, np.array([7.0, -7.0]), np.zeros((2, 2))) for match in matches}

        def add(self, tallies):
            assert not tallies

    assert population.fill(LOCAL, played.append, 10, Stored()) == 1
    assert not played
    assert population.payoffs.mean[:, 0, 0].tolist() == [7, -7]


TALLY = tally_games(np.array([[1.0, -1.0], [0.1, 0.2], [1 / 3, 0]]))


def write_until_killed(folder, pipe):
    """Adds matches one by one, and reports each one that is stored."""
    matches = MatchFile(folder)
    for begin in range(2**14):
        matches.add({Match(("a", "b"), begin, 3): TALLY})
        os.write(pipe, begin.to_bytes(2, "little"))


def test_a_killed_writer_loses_no_match_that_it_counted(tmp_path):
    MatchFile(tmp_path).close()
    assert not list(tmp_path.iterdir())  # the file is made with the first match
    reading, writing = os.pipe()
    processes = [FORK.Process(target=write_until_killed, args=(tmp_path, writing)) for _ in range(2)]
    for process in processes:
        process.start()
    os.close(writing)
    reported = os.read(reading, 40)
    while len(reported) < 40:
        reported += os.read(reading, 40)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    while more := os.read(reading, 1000):
        reported += more
    counted = {int.from_bytes(reported[place : place + 2], "little") for place in range(0, len(reported), 2)}
    stored = MatchFile(tmp_path).find([Match(("a", "b"), begin, 3) for begin in counted])
    assert len(stored) == len(counted)
    assert all(equal(tally, TALLY) for tally in stored.values())


def test_matches_are_only_added_and_damaged_ones_refused(tmp_path):
    matches = MatchFile(tmp_path)
    matches.add({Match(("a", "b"), 0, 3): TALLY})
    for statement in ("DELETE FROM matches", "UPDATE matches SET games = 9"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            matches.file.connection.execute(statement)
    row = "INSERT INTO matches VALUES ('c d', 0, 3, ?, '[[0, 0], [0, 0]]', 0)"
    matches.file.connection.execute(row, ["[1, NaN]"])
    with pytest.raises(Refused, match="damaged"):
        matches.find([Match(("c", "d"), 0, 3)])


def test_games_of_a_cell_do_not_depend_on_how_they_are_batched():
    """Ten games and ten more are the first twenty games."""
    game = OpenSpiel("kuhn_poker")
    both = Population(2), Population(2)
    for population, batches in zip(both, ((10, 10), (20,)), strict=True):
        population.grow(TabularSpec().profile(game))
        for games in batches:
            population.play([(0, 0)], LOCAL, choose_measure(game, games, 0), games)
    assert both[0].payoffs.games[0, 0] == both[1].payoffs.games[0, 0] == 20
    assert both[0].payoffs.mean == pytest.approx(both[1].payoffs.mean, abs=1e-15)


@pytest.mark.parametrize("kind", [PSRO, JPSRO])
def test_a_population_of_networks_goes_on_with_the_same_bits(kind):
    """In a symmetric game the seats share members, and so they do after the run was resumed."""
    ends = []
    for stops in ((4,), (2, 4)):
        torch.manual_seed(0)
        state, done = None, 0
        for stop in stops:
            game, spec = MatrixGame("rock_paper_scissors"), MLPSpec(hidden=[8])
            solver, profile = kind(games=30, refine=1, draws=5, start="last"), spec.profile(game)
            responder = PPO(game, spec, num_envs=4, rollout_length=8, minibatches=2)
            if state is not None:
                load_profile_state(profile, state["profile"])
                set_state(responder, state["responder"])
                set_state(solver, state["solver"])
                torch.set_rng_state(state["torch"])
            *_, last = islice(solver.solve(profile, responder, after=done), stop - done)
            responder.prepare(profile)
            state = {
                "profile": deepcopy(profile_state(profile)),
                "responder": deepcopy(get_state(responder)),
                "solver": deepcopy(get_state(solver)),
                "torch": torch.get_rng_state(),
            }
            done = stop
        ends.append((last.metrics, solver.population))
    (one, first), (two, second) = ends
    assert {name: one[name] for name in one if "second" not in name} == {
        name: two[name] for name in two if "second" not in name
    }
    assert np.array_equal(first.payoffs.scatter, second.payoffs.scatter)
    assert first.payoffs.symmetric
    assert np.array_equal(first.payoffs.mean[0], first.payoffs.mean[1].T)
