"""Populations grow towards equilibria: known distances, equivalent computations, guarantees of every step."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.paths import paths, play_games
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.policies.tabular import TabularSpec, average_strategy, fill_tables, stack_tables, table_plan
from marl_engine.populations.measures import compute_payoffs
from marl_engine.populations.population import Population
from marl_engine.responders.exact import ExactResponder
from marl_engine.runners import LOCAL
from solvers.normal_form.nash import zero_sum
from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle, is_zero_sum
from solvers.populations.fictitious_play import FictitiousPlay
from solvers.populations.pipeline_psro import PipelinePSRO
from solvers.populations.psro import PSRO, rectify_mixtures


def distances(solver, game, iterations):
    """Returns NashConv after every iteration, and the last metrics."""
    profile = TabularSpec().profile(game)
    steps = list(islice(solver.solve(profile, ExactResponder(game)), iterations))
    return np.array([step.metrics["nash_conv"] for step in steps]), steps[-1].metrics


@pytest.fixture
def random_game(tmp_path):
    """Returns a maker of zero-sum games with normal payoffs."""

    def make_game(seed, size=40):
        row = np.random.default_rng(seed).normal(size=(size, size))
        np.save(tmp_path / "payoffs.npy", np.stack([row, -row]))
        return MatrixGame(payoffs=str(tmp_path / "payoffs.npy"))

    return make_game


def test_fictitious_play_on_kuhn():
    """The distances of OpenSpiel's XFP; later they differ because of ties."""
    values, _ = distances(FictitiousPlay(), OpenSpiel("kuhn_poker"), 200)
    assert values[[0, 9]] == pytest.approx([0.625, 1 / 6], abs=1e-12)
    assert 0.02 < values[199] < 0.05


def test_uniform_psro_is_fictitious_play(random_game):
    game = random_game(0)
    assert distances(PSRO("uniform"), game, 60)[0] == pytest.approx(distances(FictitiousPlay(), game, 60)[0], abs=1e-9)


def test_fictitious_play_circles_in_shapleys_game():
    """From a start off the equilibrium its average does not converge (Shapley 1964), unlike in
    rock-paper-scissors.
    """
    ends = {}
    for name in ("shapley", "rock_paper_scissors"):
        game = MatrixGame(name)
        game.start = np.array([1, 1, 1, 0, 0, 0, 1, 0.0])
        ends[name] = distances(FictitiousPlay(), game, 3000)[0][-1000:]
    assert ends["shapley"].min() > 0.2
    assert ends["rock_paper_scissors"].max() < 0.1


@pytest.mark.parametrize("solver", [PSRO(), AnytimeDoubleOracle()], ids=["double oracle", "anytime"])
def test_double_oracle_ends_at_the_equilibrium_of_kuhn(solver):
    game = OpenSpiel("kuhn_poker")
    profile, responder = TabularSpec().profile(game), ExactResponder(game)
    metrics = list(islice(solver.solve(profile, responder), 15))[-1].metrics
    assert metrics["nash_conv"] == pytest.approx(0, abs=1e-9)
    assert expected_payoffs(game.form, realization_plan(game.form, stack_tables(profile))) == pytest.approx(
        [-1 / 18, 1 / 18], abs=1e-9
    )


def test_a_pipeline_of_one_level_is_psro():
    """It fixes an exact response in every second iteration, when it has gained no more; three levels are faster."""
    game = OpenSpiel("kuhn_poker")
    expected, _ = distances(PSRO(), game, 8)
    one, metrics = distances(PipelinePSRO(active=1, patience=1), game, 16)
    assert one[::2] == pytest.approx(expected, abs=1e-9)
    assert one[1::2] == pytest.approx(expected, abs=1e-9)
    assert metrics["lowest/gain"] == pytest.approx(0, abs=1e-9)
    three, _ = distances(PipelinePSRO(active=3, patience=1), game, 10)
    assert three[7] > 1e-3 > three[9]
    assert (three[1:7] <= one[1:7] + 1e-9).mean() > 0.5


def test_each_level_responds_to_all_below():
    """From rock, paper is the first response; one iteration later the next level beats both with scissors."""
    game = MatrixGame("rock_paper_scissors")
    game.start = np.array([1, 1, 1, 0, 0, 1, 0, 0.0])
    solver = PipelinePSRO(active=2, patience=9)
    plays = []
    for _ in islice(solver.solve(TabularSpec().profile(game), ExactResponder(game)), 2):
        plays.append([int(level.learner.profile[0].strategy.argmax()) for level in solver.levels])
    assert plays == [[1, 1], [1, 2]]
    assert solver.population.sizes == (1, 1)
    assert solver.meta_game.mixtures[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=1e-6)


def test_anytime_double_oracle_never_increases_where_double_oracle_does(random_game):
    rises = 0
    for seed in range(5):
        usual, _ = distances(PSRO(), random_game(seed), 40)
        anytime, _ = distances(AnytimeDoubleOracle(), random_game(seed), 40)
        rises += int((np.diff(usual) > 1e-6).sum())
        assert np.diff(anytime).max() < 1e-6
        assert anytime[-1] == pytest.approx(0, abs=1e-5)
    assert rises > 20


def test_the_anytime_mixture_is_that_of_the_one_sided_linear_program(random_game):
    """Members against all pure strategies of the other seat, solved as one matrix."""
    game = random_game(7)
    solver, profile = AnytimeDoubleOracle(), TabularSpec().profile(game)
    steps, earns = solver.solve(profile, ExactResponder(game)), game.earns[0].numpy()
    for _ in range(6):
        members = [list(each) for each in solver.population.members] if solver.population else None
        values = next(steps).metrics["nash_conv"]
        if members:
            rows, columns = (np.array([table_plan(member) for member in seat]) for seat in members)
            row, _ = zero_sum(rows @ earns)
            column, _ = zero_sum(columns @ -earns.T)
            guaranteed = (row @ rows @ earns).min() + (column @ columns @ -earns.T).min()
            assert values == pytest.approx(-guaranteed, abs=1e-5)


def test_exact_cells_are_entries_of_the_matrix(random_game):
    game = random_game(3)
    solver, profile = PSRO(), TabularSpec().profile(game)
    list(islice(solver.solve(profile, ExactResponder(game)), 5))
    rows, columns = (
        [int(member.strategy.argmax()) for member in seat[1:]] for seat in solver.population.members
    )  # the first is uniform
    assert np.isinf(solver.population.payoffs.games).all()
    assert solver.population.payoffs.mean[:, 1:, 1:] == pytest.approx(
        game.earns.numpy()[:, rows][:, :, columns], abs=1e-9
    )


def test_sampled_cells_are_near_exact_ones():
    game = OpenSpiel("leduc_poker")
    solver, profile = PSRO(games=1000), TabularSpec().profile(game)
    list(islice(solver.solve(profile, ExactResponder(game)), 4))
    measured, exact = solver.population.payoffs, Population(2)
    exact.members = solver.population.members
    exact.payoffs.grow(exact.sizes)
    exact.fill(LOCAL, partial(compute_payoffs, game=game))
    errors = np.abs(measured.mean - exact.payoffs.mean)[measured.error() > 0] / measured.error()[measured.error() > 0]
    assert (measured.games == 1000).all()
    assert errors.max() < 4.5
    assert 0.5 < errors.mean() < 1.1  # that of a standard normal distribution is .8


def test_playouts_earn_what_plans_say():
    """The mean of a hundred thousand games is within four standard errors of the exact payoff."""
    for name in ("leduc_poker", "kuhn_poker(players=3)", "tiny_hanabi"):
        game = OpenSpiel(name)
        strategy = _random_strategy(game.form, np.random.default_rng(1))
        earned = play_games(paths(game.tree, game.form), strategy, np.arange(100_000, dtype=np.uint64))
        error = earned.std(0) / len(earned) ** 0.5
        assert (
            np.abs(earned.mean(0) - expected_payoffs(game.form, realization_plan(game.form, strategy)))
            < 4 * error + 1e-12
        ).all()


def test_a_pool_earns_what_its_members_earn_on_average():
    """Realization plans are averaged, not strategies, so payoffs are linear in the weights."""
    game = OpenSpiel("leduc_poker")
    generator, members = np.random.default_rng(0), []
    for _ in range(3):
        profile = TabularSpec().profile(game)
        for policy, span in ((policy, policy.span) for policy in profile):
            policy.strategy.copy_(torch.from_numpy(_random_strategy(game.form, generator)[span]))
        members.append(profile)
    weights = np.array([0.2, 0.5, 0.3])
    seats = [[profile[0] for profile in members], [members[0][1]]]
    pool = average_strategy(seats, [weights, [1.0]])
    each = [
        expected_payoffs(game.form, realization_plan(game.form, stack_tables([profile[0], members[0][1]])))
        for profile in members
    ]
    assert expected_payoffs(game.form, realization_plan(game.form, pool)) == pytest.approx(
        weights @ np.array(each), abs=1e-12
    )


def _random_strategy(form, generator):
    chances = generator.random(form.sequences)
    total = np.add.reduceat(chances, form.first[:-1])
    return np.concatenate([np.ones(form.players), chances[form.players :] / np.repeat(total, np.diff(form.first))])


def test_rectified_opponents_of_rock_paper_scissors():
    """Rock is trained against rock and scissors, and so on."""
    row = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    third = np.full(3, 1 / 3)
    cuts = [mixtures[1] for seats, mixtures in rectify_mixtures(np.stack([row, -row]), [third, third]) if seats == [0]]
    assert np.array(cuts) == pytest.approx(np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]]) / 2)


def test_a_population_takes_nobody_twice_unless_asked():
    game = MatrixGame("matching_pennies")
    profile, population = TabularSpec().profile(game), Population(2)
    assert [population.grow(profile), population.grow(profile), population.grow(profile, [1], again=True)] == [2, 0, 1]
    fill_tables(profile, np.array([1, 1, 1, 0, 0, 1.0]))
    assert population.grow(profile) == 2
    assert population.sizes == (2, 3)
    assert population.payoffs.mean.shape == (2, 2, 3)


def test_only_zero_sum_games_are_taken_for_such():
    zero_sum_games = [OpenSpiel("kuhn_poker"), OpenSpiel("leduc_poker"), MatrixGame("rock_paper_scissors")]
    others = [OpenSpiel("tiny_hanabi"), OpenSpiel("kuhn_poker(players=3)"), MatrixGame("chicken")]
    assert all(is_zero_sum(game.form) for game in zero_sum_games)
    assert not any(is_zero_sum(game.form) for game in others)
    with pytest.raises(ValueError, match="two-player zero-sum"):
        AnytimeDoubleOracle().solve(TabularSpec().profile(others[2]), ExactResponder(others[2]))


@pytest.mark.parametrize("meta", ["nash", "logit", "prd", "regret_matching", "fictitious_play", "alpha_rank"])
def test_psro_with_every_meta_solver(random_game, meta):
    """All get closer to the equilibrium than the uniform start."""
    values, _ = distances(PSRO(meta), random_game(2, size=8), 25)
    assert values.min() < values[0] / 4


def test_rectified_psro_solves_a_symmetric_game():
    game = MatrixGame("biased_rock_paper_scissors")
    game.start = np.array([1, 1, 1, 0, 0, 1, 0, 0.0])
    assert distances(PSRO("rectified"), game, 10)[0][-1] == pytest.approx(0, abs=1e-9)


def test_psro_of_three_players_fills_every_cell():
    game = OpenSpiel("kuhn_poker(players=3)")
    solver, profile = PSRO(), TabularSpec().profile(game)
    values = [step.metrics["nash_conv"] for step in islice(solver.solve(profile, ExactResponder(game)), 12)]
    sizes = solver.population.sizes
    assert solver.population.payoffs.mean.shape == (3, *sizes)
    assert (solver.population.payoffs.games > 0).all()
    assert values[-1] < values[0] / 3
