"""Pure jobs: one process and two give the same bits."""

import math
import multiprocessing
import os
import pickle
import time
from collections import OrderedDict
from itertools import islice

import numpy as np
import pytest
import torch
from toys import Matrix

from games.normal_form.games import MatrixGame
from games.openspiel import OpenSpiel
from games.recall import Recall
from marl_engine.errors import Halted
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.trees import map_tree
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.levels import Stages
from marl_engine.rollout.rollout import score
from marl_engine.rollout.sharded_stream import ShardedStream
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.runners import LOCAL, ProcessRunner, Resident, processes, resident
from marl_engine.runners.packets import dump_plain
from marl_engine.types import Opponents
from solvers.populations.psro import PSRO

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


class JobCounter:
    """A runner with two processes, which counts its jobs."""

    def __init__(self):
        self.runner, self.jobs = ProcessRunner(2), 0

    def map(self, job, arguments):
        arguments = list(arguments)
        self.jobs += len(arguments)
        return self.runner.map(job, arguments)


@pytest.fixture(scope="module")
def pool():
    counter = JobCounter()
    yield counter
    counter.runner.pool.shutdown()


def test_whole_games_are_the_same_in_one_process_and_in_two(pool):
    """Each game depends on its seed, in any shard."""
    torch.manual_seed(0)
    profile = MLPSpec(hidden=(8,)).profile(game := Matrix(PENNIES, team=False))
    lineups, seeds = [Lineup(profile), Lineup(profile[::-1]), Lineup(profile, greedy=True)], derive_seeds(5, 100)
    before = pool.jobs
    one, two = (score_lineups(runner, game, lineups, seeds, size=32) for runner in (LOCAL, pool))
    assert pool.jobs - before == 3 * 4  # shards of 32, 32, 32 and 4 games
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first, second)
    assert torch.equal(one[0], score(game, profile, seeds))
    assert not torch.equal(one[0], one[2])


def test_evaluations_are_the_same_in_one_process_and_in_two(pool):
    torch.manual_seed(0)
    network = MLPSpec(hidden=(8,))
    profile, reference = (network.profile(game := Matrix(PENNIES, team=False)) for _ in range(2))
    one, two = (ReturnEvaluator(game, reference, runner, 1500).evaluate(profile, full=True) for runner in (LOCAL, pool))
    assert one.metrics == two.metrics
    assert "return/initial/mean" in one.metrics


def learn(runner, shard, against=False):
    """Returns the weights of a recurrent policy after three steps on Recall, the trajectories, and the last metrics."""
    torch.manual_seed(0)
    network, game = RecurrentSpec(units=8, hidden=(8,)), Recall(delay=2)
    profile = network.profile(game)
    opponents = Opponents([freeze(network.profile(game)) for _ in range(2)], (0.3, 0.7)) if against else None
    settings = {"num_envs": 20, "rollout_length": 7, "minibatches": 2, "learning_rate": 0.01}
    levels = Stages([1, 2], threshold=0.3, games=20)
    learner = PPO(game, network, shard=shard, runner=runner, levels=levels, **settings)
    steps = [learner.respond(profile, opponents) for _ in range(3)]
    trajectories = [trajectory for step in steps for trajectory in step.batch]
    weights = [each.detach().clone() for each in profile[0].parameters()]
    return weights, trajectories, {name: number for name, number in steps[-1].metrics.items() if "second" not in name}


@pytest.mark.parametrize("against", [False, True])
def test_learning_is_the_same_in_one_process_and_in_two(pool, against):
    """Shards of 8, 8 and 4 games with memory, levels and opponents that continue from stretch to stretch."""
    before = pool.jobs
    one, two = (learn(runner, 8, against) for runner in (LOCAL, pool))
    assert pool.jobs - before == 3 * 3 * (2 if against else 1)  # stretches, shards, line-ups
    assert all(map(torch.equal, one[0], two[0]))
    assert one[2] == two[2]
    for first, second in zip(one[1], two[1], strict=True):
        map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), tuple(first), tuple(second))
    assert one[1][-1].level.max() == 2


@pytest.mark.parametrize("against", [False, True])
def test_play_ahead_is_the_same_in_one_process_and_in_two(pool, against, monkeypatch):
    """A worker is a process that runs jobs of a job itself, when their results are needed."""
    monkeypatch.setattr(pool.runner, "overlap", True)
    two = learn(pool.runner, 8, against)
    monkeypatch.setattr(processes, "is_worker", lambda: True)
    one = learn(pool.runner, 8, against)
    assert all(map(torch.equal, one[0], two[0]))
    assert one[2] == two[2]
    assert two[2]["staleness"] == 1
    for first, second in zip(one[1], two[1], strict=True):
        map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), tuple(first), tuple(second))


def test_other_jobs_wait_for_those_in_the_background(pool):
    """Results come in the order of arguments. An exception is that of the jobs which raised it only."""
    take, fails = pool.runner.start(math.isqrt, [4, 9, 16]), pool.runner.start(math.isqrt, [4, -4])
    assert pool.runner.map(math.isqrt, [25, 36]) == [5, 6]
    assert take() == [2, 3, 4]
    with pytest.raises(ValueError, match="nonnegative"):
        fails()
    assert pool.runner.start(math.isqrt, [49])() == [7]


@pytest.mark.parametrize("against", [False, True])
def test_a_game_depends_on_its_seed_and_not_on_its_shard(against):
    """In the first stretch, before rounding makes learners differ."""
    whole, parts = (learn(LOCAL, shard, against)[1][0] for shard in (None, 8))
    assert torch.equal(whole.action, parts.action)
    assert torch.equal(whole.observation, parts.observation)
    assert torch.equal(whole.level, parts.level)
    torch.testing.assert_close(whole.log_prob, parts.log_prob)


def test_shards_of_unequal_sizes_are_joined():
    """Three games are played by tables of logits, as they have more decisions than Kuhn poker information sets."""
    torch.manual_seed(0)
    game, seeds = OpenSpiel("kuhn_poker"), derive_seeds(0, 4)
    opponents = Opponents([MLPSpec(hidden=(8,)).profile(game)])
    whole, parts = (ShardedStream(game, seeds, size=size).play_opponents(opponents, 3)[0] for size in (None, 3))
    assert parts.memory == (None, None)
    assert torch.equal(whole.action, parts.action)
    assert torch.equal(whole.reward, parts.reward)
    torch.testing.assert_close(whole.log_prob, parts.log_prob)


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
    assert np.array_equal(one.payoffs.mean, two.payoffs.mean)
    assert (one.payoffs.games == (np.inf if games is None else games)).all()


def test_an_error_in_a_worker_is_raised_here_and_the_next_jobs_run(pool):
    with pytest.raises(ValueError, match="nonnegative"):
        pool.map(math.isqrt, [4, -4])
    assert pool.map(math.isqrt, [4, 9]) == [2, 3]


def test_jobs_whose_results_are_not_taken_are_abandoned():
    """A sweep that is stopped by a signal does not wait for the runs in its workers."""
    runner = ProcessRunner(2)
    results = runner.complete(time.sleep, [0, 600, 600])
    assert next(results) == (0, None)
    workers, pool = multiprocessing.active_children(), runner.pool
    assert len(workers) >= 2
    results.close()
    since = time.monotonic()
    pool.shutdown()  # as at the end of the process, which waits for its workers
    assert time.monotonic() - since < 60
    assert runner.map(math.isqrt, [9, 16]) == [3, 4]
    runner.pool.shutdown()


def test_a_worker_goes_on_with_a_value_only_where_that_was_left(monkeypatch):
    """A value moves from one worker to another and back. The first one must not go on with what it has kept, and keeps
    it no longer. Nor may a worker take the value of another name, though all workers count alike.
    """
    monkeypatch.setattr(resident, "WORKS", True)
    homes = OrderedDict(), OrderedDict()

    def work(home, value, *numbers):
        """Adds numbers to a list in one of two workers; returns what comes back from it."""
        monkeypatch.setattr(resident, "KEPT", home)
        here = pickle.loads(value)
        here.value.extend(numbers)
        return pickle.dumps(here)

    first, second = (pickle.dumps(Resident(None, data=pickle.dumps([number]))) for number in (10, 20))
    first, second = work(homes[0], first, 11), work(homes[1], second, 21)
    first, second = work(homes[1], first, 12), work(homes[0], second, 22)
    first, second = work(homes[0], first, 13), work(homes[1], second, 23)
    assert [len(home) for home in homes] == [2, 2]  # one state of each value
    monkeypatch.setattr(resident, "KEPT", OrderedDict())
    assert [pickle.loads(each).value for each in (first, second)] == [[10, 11, 12, 13], [20, 21, 22, 23]]


def test_a_weight_is_sent_without_the_vector_that_it_is_a_part_of():
    whole = torch.arange(60_000.0)
    parts = [torch.nn.Parameter(whole[start : start + 6].view(3, 2).T) for start in range(0, 60_000, 6000)]
    data = dump_plain(parts)
    assert len(data) < 5000 < len(pickle.dumps(parts[0]))
    again = pickle.loads(data)
    assert all(map(torch.equal, again, parts))
    assert all(each.requires_grad and type(each) is torch.nn.Parameter for each in again)


def test_a_worker_that_dies_stops_the_run_and_the_next_jobs_have_new_workers():
    runner = ProcessRunner(1)
    with pytest.raises(Halted, match="a worker process died"):
        runner.map(os._exit, [1, 1])
    assert runner.map(math.isqrt, [9, 16]) == [3, 4]
    runner.pool.shutdown()
