"""Several learners together learn what a single one learns, up to the order of sums."""

import os

import pytest
import torch
from toys import Matrix

from games.normal_form.games import SentenceMatrix
from games.recall import Recall
from marl_engine.policies.language.enumerable import EnumerableLMSpec
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference import PreferenceResponder
from marl_engine.runners import LOCAL, ProcessRunner, gang, make_gang
from marl_engine.types import Objective

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


@pytest.fixture(scope="module")
def pair():
    """Two processes that learn."""
    runner = ProcessRunner(1, learners=2)
    yield runner
    if runner.gang is not None and runner.gang.workers is not None:
        runner.gang.workers.pool.shutdown()


def learn(runner, game, network, steps=1, regularised=False, **settings):
    """Returns the learner and its profile after some steps."""
    torch.manual_seed(0)
    profile = network.profile(game)
    learner = PPO(game, network, runner=runner, num_envs=7, rollout_length=9, learning_rate=0.01, **settings)
    objective = Objective(anchor=freeze(profile), step_size=0.5) if regularised else Objective()
    for _ in range(steps):
        metrics = learner.respond(profile, objective=objective).metrics
    return learner, profile, {name: each for name, each in metrics.items() if "second" not in name}


@pytest.mark.parametrize(
    ("game", "network", "settings"),
    [
        (Matrix(PENNIES, team=False, patience=3), MLPSpec(hidden=(8,), shared=False), {"minibatches": 3}),
        (Matrix(PENNIES, patience=3), MLPSpec(hidden=(8,)), {"minibatches": 1, "regularised": True}),
        (Recall(delay=2), RecurrentSpec(units=8, hidden=(8,)), {"value_normalisation": "popart", "regularised": True}),
    ],
    ids=["decisions", "kl_terms", "sequences"],
)
def test_gradients_are_those_of_one_learner(pair, game, network, settings):
    """The last gradients of an update with several steps, its weights and metrics. Minibatches are of odd sizes."""
    (one, profile, single), (two, other, double) = (learn(each, game, network, **settings) for each in (LOCAL, pair))
    for policy, same in zip(profile, other, strict=True):
        ours, theirs = one._learner(policy), two._learner(same)
        for kind in ("policy_optimiser", "critic_optimiser"):
            first, second = vars(ours)[kind], vars(theirs)[kind]
            assert first.gradient.abs().max() > 1e-5
            torch.testing.assert_close(second.gradient, first.gradient, rtol=0, atol=1e-6)
            torch.testing.assert_close(second.vector, first.vector, rtol=0, atol=1e-5)
            torch.testing.assert_close(second.square, first.square, rtol=0, atol=1e-6)
            assert first.steps == second.steps > 1
    assert double == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize("loss", ["reinforce", "squared"])
def test_gradients_of_language_policies_are_those_of_one_learner(pair, loss):
    """In the last of four steps, and the weights after it. The learner equals its magnet before the first."""
    ends = []
    for runner in (LOCAL, pair):
        game = SentenceMatrix(draw=1)
        profile = EnumerableLMSpec(length=game.length).profile(game)
        magnet, settings = freeze(profile), {"prompts": 7, "answers": 3, "minibatches": 2, "epochs": 2, "loss": loss}
        responder = PreferenceResponder(game, learning_rate=0.05, micro_batch=3, runner=runner, **settings)
        step = responder.respond(profile, None, Objective(magnet=magnet, magnet_weight=0.1))
        ends.append((responder.optimisers[profile[0]], step.metrics))
    (first, single), (second, double) = ends
    assert first.steps == second.steps == 4
    assert first.gradient.abs().max() > 1e-3
    for kind in ("gradient", "vector", "square"):
        torch.testing.assert_close(vars(second)[kind], vars(first)[kind], rtol=0, atol=1e-6)
    assert double["loss/policy"] == pytest.approx(single["loss/policy"], abs=1e-6)


def test_two_learners_give_the_same_bits_in_every_run(pair):
    game, network = Matrix(PENNIES, patience=3), MLPSpec(hidden=(8,))
    (_, profile, first), (_, other, second) = (learn(pair, game, network, steps=3) for _ in range(2))
    assert all(map(torch.equal, profile[0].parameters(), other[0].parameters()))
    assert first == second


def report(argument, group):
    """Returns the rank, the process, and the sum of the arguments and ranks of both workers."""
    total = torch.tensor([argument, group.rank])
    group.add(total)
    return group.rank, os.getpid(), total.tolist()


def test_processes_keep_their_rank(pair):
    """Results come by rank, whichever process is given which of the two equal jobs."""
    learn(pair, Matrix(PENNIES, patience=3), MLPSpec(hidden=(8,)))
    first, second = (pair.gang.run(report, number) for number in (3, 4))
    assert [each[0] for each in first] == [0, 1]
    assert [each[1] for each in first] == [each[1] for each in second]
    assert {each[1] for each in first}.isdisjoint({os.getpid()})
    assert [each[2] for each in (*first, *second)] == [[6, 1], [6, 1], [8, 1], [8, 1]]


def test_learners_with_learners_of_their_own_are_not_made_in_workers(monkeypatch):
    """A run in a worker, as in a sweep, has one learner."""
    runner = ProcessRunner(1, learners=2)
    monkeypatch.setattr(gang, "is_worker", lambda: True)
    assert make_gang(runner) is None
    monkeypatch.undo()
    assert make_gang(runner) is make_gang(runner) is not None
    assert make_gang(ProcessRunner(2)) is None
