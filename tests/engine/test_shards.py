"""Pure jobs: one process and two give the same bits."""

from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from toys import Matrix

from games.normal_form.games import MatrixGame
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.rollout.rollout import score
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.runners import LOCAL
from solvers.populations.psro import PSRO

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


class Pool:
    """A runner of two processes."""

    def __init__(self, pool):
        self.pool, self.jobs = pool, 0

    def map(self, job, arguments):
        arguments = list(arguments)
        self.jobs += len(arguments)
        return list(self.pool.map(job, arguments))


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, get_context("fork")) as executor:
        yield Pool(executor)


def test_whole_games_are_the_same_in_one_process_and_in_two(pool):
    """And each game is the one of its seed, whatever shard it is in."""
    torch.manual_seed(0)
    profile = MLPSpec(hidden=(8,)).profile(game := Matrix(PENNIES, team=False))
    lineups, seeds = [Lineup(profile), Lineup(profile[::-1]), Lineup(profile, greedy=True)], derive_seeds(5, 100)
    before = pool.jobs
    one, two = (score_lineups(runner, game, lineups, seeds, size=32) for runner in (LOCAL, pool))
    assert pool.jobs - before == 3 * 4  # shards of 32, 32, 32 and 4 games
    for mine, other in zip(one, two, strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(one[0], score(game, profile, seeds))
    assert not torch.equal(one[0], one[2])


def test_evaluations_are_the_same_in_one_process_and_in_two(pool):
    torch.manual_seed(0)
    network = MLPSpec(hidden=(8,))
    profile, reference = (network.profile(game := Matrix(PENNIES, team=False)) for _ in range(2))
    one, two = (ReturnEvaluator(game, reference, runner, 1500).evaluate(profile, full=True) for runner in (LOCAL, pool))
    assert one.metrics == two.metrics
    assert "return/initial/mean" in one.metrics


@pytest.mark.parametrize("games", [None, 50])
def test_payoff_cells_are_the_same_in_one_process_and_in_two(pool, games):
    populations = []
    for runner in (LOCAL, pool):
        solver, game = PSRO(games=games), MatrixGame(name="rock_paper_scissors")
        list(islice(solver.solve(TabularSpec().profile(game), ExactResponder(game), runner), 3))
        populations.append(solver.population)
    one, two = populations
    assert one.sizes == two.sizes
    assert min(one.sizes) > 1
    assert np.array_equal(one.mean, two.mean)
    assert (one.count == (np.inf if games is None else games)).all()
