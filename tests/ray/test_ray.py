"""Ray gives the results of the local runner, bit for bit, also when workers are lost."""

import math
import os
import random
import signal
import sys
import time
from contextlib import nullcontext
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from command_runs import SMALL, assert_same_run, marl_train
from lossy import PENNIES, Lossy, LossyLM, add_ranks, die

from games.normal_form.games import MatrixGame, SentenceMatrix
from games.preference import PromptGame
from games.recall import Recall
from marl_engine.errors import Halted, Notice, Refused
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.trees import map_tree
from marl_engine.policies.language.enumerable import EnumerableLM
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference import PreferenceResponder
from marl_engine.rollout.levels import Stages
from marl_engine.rollout.sharded_stream import ShardedStream
from marl_engine.runners import LOCAL, RayRunner, crew, make_gang, packets
from marl_engine.runners.background import stop_all
from marl_engine.runners.crew import ATTEMPTS, Crew, Losses, Store
from marl_engine.runners.ray import Worker
from marl_engine.runs.folder import RunFolder
from marl_engine.types import Opponents
from solvers.populations.psro import PSRO


def assert_same_trees(first, second):
    map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), tuple(first), tuple(second))


def learn(runner):
    """Returns the trajectories and the weights of three steps against opponents, with memory, levels and shards."""
    torch.manual_seed(0)
    network, game = RecurrentSpec(units=8, hidden=(8,)), Recall(delay=2)
    profile, opponents = network.profile(game), Opponents([freeze(network.profile(game)) for _ in range(2)], (0.3, 0.7))
    levels = Stages([1, 2], threshold=0.3, games=20)
    settings = {"num_envs": 20, "rollout_length": 7, "minibatches": 2, "learning_rate": 0.01, "shard": 6}
    learner = PPO(game, network, runner=runner, levels=levels, **settings)
    steps = [learner.respond(profile, opponents) for _ in range(3)]
    return [each for step in steps for each in step.batch], [each.detach() for each in profile[0].parameters()]


@pytest.mark.parametrize("workers", ["one", "two", "four"])
def test_learning_is_the_same_with_any_number_of_workers(workers, request):
    (ours, own), (reference, weights) = learn(request.getfixturevalue(workers)), learn(LOCAL)
    assert all(map(torch.equal, own, weights))
    for first, second in zip(ours, reference, strict=True):
        assert_same_trees(first, second)


def test_evaluations_and_payoff_cells_are_the_same(two):
    torch.manual_seed(0)
    network, game = MLPSpec(hidden=(8,)), Recall(delay=2)
    profile, reference = (network.profile(game) for _ in range(2))
    first, second = (ReturnEvaluator(game, reference, runner, 1500).evaluate(profile) for runner in (LOCAL, two))
    assert first.metrics == second.metrics
    populations = []
    for runner in (LOCAL, two):
        solver, game = PSRO(games=50), MatrixGame(name="rock_paper_scissors")
        list(islice(solver.solve(TabularSpec().profile(game), ExactResponder(game), runner), 3))
        populations.append(solver.population)
    assert np.array_equal(populations[0].payoffs.mean, populations[1].payoffs.mean)
    assert min(populations[1].sizes) > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_has_the_metrics_and_checkpoints_of_a_local_one(workers, tmp_path):
    words = (*SMALL, "responder.shard=1", "save_every=2", "iterations=4")
    assert marl_train(tmp_path, *words, "run=local").code == 0
    done = marl_train(tmp_path, *words, "run=ray", "runner=ray", f"runner.workers={workers}")
    assert (done.code, done.err) == (0, "")
    assert_same_run(tmp_path / "runs/ray", tmp_path / "runs/local", 4)


def test_a_run_of_a_language_policy_has_the_metrics_and_checkpoints_of_a_local_one(tmp_path):
    words = ("game=preference/tiny", "solver=nash_md", "responder.prompts=6", "responder.shard=2", "save_every=2")
    for name, keys in (("local", ()), ("ray", ("runner=ray", "runner.workers=2"))):
        done = marl_train(tmp_path, *words, f"run={name}", "iterations=4", "threads=1", *keys)
        assert (done.code, done.err) == (0, "")
    assert_same_run(tmp_path / "runs/ray", tmp_path / "runs/local", 4, tensors=5)


SAC = ("game=control", "responder=off_policy", "policy=squashed", "responder.rollout_length=10", "responder.memory=100")
QMIX = ("game=overcooked", "game.horizon=12", "responder=qmix", "responder.memory=100", "responder.updates=2")


@pytest.mark.parametrize("choices", [SAC, QMIX], ids=["sac", "qmix"])
def test_replay_buffers_survive_a_stop(choices, tmp_path):
    """Transitions are collected in the process of the run, and saved with it."""
    words = (*choices, "responder.num_envs=4", "responder.batch=8", "responder.warm_up=20", "policy.hidden=[8]")
    words = (*words, "threads=1", "evaluate_every=2", "episodes=2")
    assert marl_train(tmp_path, *words, "run=whole", "iterations=5").code == 0
    assert marl_train(tmp_path, *words, "run=halves", "runner=ray", "runner.workers=2", "iterations=3").code == 0
    assert marl_train(tmp_path, "resume=runs/halves", "iterations=5").code == 0
    assert_same_run(tmp_path / "runs/halves", tmp_path / "runs/whole", 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_plays_ahead_has_the_bits_of_any_other_also_if_it_is_resumed(workers, tmp_path):
    """The other one plays ahead in two processes, and is not stopped."""
    words = (*SMALL, "responder.shard=1", "save_every=2", "runner.overlap=true")
    assert marl_train(tmp_path, *words, "run=other", "runner=processes", "runner.workers=2", "iterations=5").code == 0
    ray_words = (*words, "run=ray", "runner=ray", f"runner.workers={workers}")
    assert marl_train(tmp_path, *ray_words, "iterations=3").code == 0
    done = marl_train(tmp_path, "resume=runs/ray", "iterations=5")
    assert (done.code, done.err) == (0, "")
    assert_same_run(tmp_path / "runs/ray", tmp_path / "runs/other", 5)
    records = RunFolder(tmp_path / "runs/ray").records()
    assert [record["staleness"] for record in records] == [0, 1, 1, 1, 1]


def test_learners_that_die_are_replaced(tmp_path):
    """In an update, which the other learner cannot end, and between two."""
    gang = make_gang(RayRunner(1, learners=2))
    with pytest.warns(Notice, match="a learner was lost; its update is done again"):
        first = gang.run(add_ranks, str(tmp_path))
    assert [each[0] for each in first] == [3, 3]
    assert gang.run(add_ranks, str(tmp_path)) == first
    os.kill(first[0][1], signal.SIGKILL)
    with pytest.warns(Notice):
        assert [each[0] for each in gang.run(add_ranks, str(tmp_path))] == [3, 3]


def test_a_run_with_two_learners_has_the_same_bits_in_actors_and_in_processes(tmp_path):
    words = (*SMALL, "responder.shard=2", "iterations=4", "runner.overlap=true", "runner.learners=2")
    for runner in ("processes", "ray"):
        done = marl_train(tmp_path, *words, f"runner={runner}", "runner.workers=1", f"run={runner}")
        assert (done.code, done.err) == (0, "")
    assert_same_run(tmp_path / "runs/ray", tmp_path / "runs/processes", 4)


def test_jobs_in_the_background_end_with_the_process(cluster):
    """Their workers are not replaced, nor is Ray started again by the thread that waits for them."""
    runner = RayRunner(1)
    runner.map(math.isqrt, [4, 9])
    actors = list(runner.crew.actors)
    runner.start(time.sleep, [600, 600])
    stop_all()
    assert not runner.background.thread.is_alive()
    assert runner.background.error is None
    assert runner.crew.actors == actors


def play(runner, folder, number):
    """Returns what two shards of a game that loses its worker play in five stretches."""
    torch.manual_seed(0)
    game = Lossy(PENNIES, patience=3, folder=str(folder), number=number)
    opponents = Opponents([MLPSpec(hidden=(8,)).profile(game)])
    stream = ShardedStream(game, derive_seeds(0, 8), runner, 4)
    return [stream.play_opponents(opponents, 3) for _ in range(5)], stream.turn


def test_games_stay_in_their_workers(two, tmp_path):
    """The state of each shard is unpickled once in all five stretches, and never here, where the game is copied."""
    play(two, tmp_path, 0)
    processes = (tmp_path / "made").read_text().split()
    workers = [each for each in processes if each != str(os.getpid())]
    assert len(workers) == len(set(workers)) == 2
    (tmp_path / "made").unlink()
    play(LOCAL, tmp_path, 0)
    assert len((tmp_path / "made").read_text().split()) == len(processes) - len(workers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_changes_no_bit(number, two, tmp_path):
    """It is lost in the middle of the third stretch. A stopped process answers nothing and must be killed."""
    two.crew = two.crew or Crew(2)
    two.crew.timeout = 40 if number == signal.SIGSTOP else math.inf
    try:
        with pytest.warns(Notice, match="another one does its job again"):
            stretches, turn = play(two, tmp_path, number)
    finally:
        two.crew.timeout = math.inf
    reference, last = play(LOCAL, tmp_path, 0)
    assert (tmp_path / "lost").exists()
    assert_same_trees(turn, last)
    for (trajectory, ended), (other, returns) in zip(stretches, reference, strict=True):
        assert_same_trees(trajectory, other)
        assert_same_trees([ended], [returns])


def test_a_worker_that_dies_while_a_language_policy_answers_changes_no_bit(two, tmp_path):
    """Answers, verdicts, and the weights after a step of two."""
    ends = []
    for runner in (LOCAL, two):
        learner = LossyLM(torch.zeros(13, 3), 3, 3)
        learner.folder = str(tmp_path)
        responder = PreferenceResponder(SentenceMatrix(), prompts=8, shard=3, runner=runner)
        with nullcontext() if runner is LOCAL else pytest.warns(Notice, match="another one does its job again"):
            steps = [responder.respond([learner, learner]) for _ in range(2)]
        ends.append(([step.batch.completions.texts for step in steps], learner.logits.detach()))
    assert (tmp_path / "lost").exists()
    assert ends[0][0] == ends[1][0]
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][1].abs().max() > 0


def test_a_worker_that_dies_while_its_judge_is_asked_changes_no_bit(two, tmp_path):
    """Verdicts, and the weights after a step of two."""
    ends, game = [], PromptGame({"_target_": "lossy.LossyJudge", "folder": str(tmp_path)})
    for runner in (LOCAL, two):
        learner = EnumerableLM(torch.zeros(13, 3), 3, 3)
        responder = PreferenceResponder(game, prompts=8, shard=3, runner=runner)
        with nullcontext() if runner is LOCAL else pytest.warns(Notice, match="another one does its job again"):
            steps = [responder.respond([learner, learner]) for _ in range(2)]
        ends.append(([step.batch.verdicts.wins for step in steps], learner.logits.detach()))
    assert (tmp_path / "lost").exists()
    assert_same_trees(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][1].abs().max() > 0


def test_a_job_that_costs_too_many_workers_stops_the_run_and_the_next_jobs_run(one, monkeypatch):
    monkeypatch.setattr("marl_engine.runners.crew.ATTEMPTS", 2)
    with pytest.warns(Notice), pytest.raises(Halted, match=r"one job cost 2 workers in a row, .* The last one died"):
        one.map(die, [1, 2])
    assert one.map(math.isqrt, [9, 16]) == [3, 4]
    assert ATTEMPTS > 2


def test_workers_that_die_by_chance_do_not_end_a_run():
    """Fifty of two workers, in whose jobs it is more probable that they die than that they end."""
    chance, losses, jobs = random.Random(0), Losses(2), [0, 1]
    for _ in range(50):
        place = chance.randrange(2)
        with pytest.warns(Notice):
            losses.add(jobs[place], "killed")
        if chance.random() < 0.3:
            jobs[place], losses.since_an_end = max(jobs) + 1, 0
    assert max(jobs) < 50 - ATTEMPTS


@pytest.mark.parametrize(("crashing", "others_end", "most"), [([3], True, ATTEMPTS), ([3, 4], False, 2 * ATTEMPTS)])
@pytest.mark.filterwarnings("ignore::marl_engine.errors.Notice")
def test_jobs_that_always_crash_end_a_run(crashing, others_end, most):
    """One of them while others end, or all, in turn."""
    losses = Losses(2)
    for number in range(most - 1):
        losses.add(crashing[number % len(crashing)], "killed")
        losses.since_an_end *= not others_end
    with pytest.raises(Halted, match=rf"{most} workers in a row"):
        losses.add(crashing[-1], "killed")


def test_a_worker_that_is_killed_while_it_starts_is_replaced(cluster, tmp_path, monkeypatch):
    """It may have been any process that a machine short of memory chose; an exception would come again."""

    class KilledOnce(Worker):  # which actors know before they know any folder of tests
        def __init__(self, path, folder):
            try:
                (Path(folder) / "lost").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                super().__init__(path, folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crew, "Worker", KilledOnce)
    monkeypatch.setattr(crew, "ATTEMPTS", 1)
    assert dict(Crew(1).complete(math.isqrt, [9, 16])) == {0: 3, 1: 4}
    assert (tmp_path / "lost").exists()


def test_gpus_that_this_machine_lacks_are_refused(cluster):
    """Workers that need them would never start."""
    with pytest.raises(Refused, match=r"runner.num_gpus=0.5 for each of 2 workers is more than the 0 GPUs"):
        RayRunner(2, num_gpus=0.5).map(math.isqrt, [4, 9])


def test_processes_of_another_machine_are_not_killed_here(cluster, monkeypatch):
    """A run that joins a cluster from outside is on none of its machines."""
    with monkeypatch.context() as outside:
        outside.setattr(crew.client, "is_connected", lambda: True)
        lone = Crew(1)
    assert dict(lone.complete(math.isqrt, [9, 16])) == {0: 3, 1: 4}
    killed = []
    monkeypatch.setattr(os, "kill", lambda *signal: killed.append(signal))
    lone._replace(0)
    assert killed == []


def test_a_run_that_waits_for_processors_says_so(cluster, monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 0.1)
    lone = Crew(1)
    with pytest.warns(
        Notice, match=r"no worker has started yet: each needs 1 CPU and 0 GPU, and the cluster has \d+ CPU"
    ):
        assert len(list(lone.complete(math.isqrt, [9, 16]))) == 2


def test_an_error_in_a_job_is_raised_here_with_its_traceback(two):
    with pytest.raises(ValueError, match="nonnegative") as raised:
        two.map(math.isqrt, [4, -4, 9])
    assert "math domain error" in str(raised.value.__cause__) or "nonnegative" in str(raised.value.__cause__)
    assert two.map(math.isqrt, [4, 9]) == [2, 3]


def test_classes_and_functions_of_a_notebook_travel(two):
    """Whatever is defined in __main__ does not exist in other processes."""
    shift = 2
    assert two.map(lambda number: number + shift, [1, 2, 3]) == [3, 4, 5]


def test_weights_are_stored_once_until_they_change(cluster):
    """Two jobs with equal weights share one object, in this call and the next; other weights are stored anew."""
    store, weights = Store(), torch.rand(64, 64)
    jobs = [packets.pack(("job", number, weights)) for number in range(2)]
    first, second = store.address(jobs), store.address(jobs)
    places = {message[1][0] for message in first + second}
    assert len(places) == 1
    assert len({message[2] for message in first + second}) == 1
    weights[0] += 1
    (third, _), stored = store.address([packets.pack(weights)] * 2), ray.get(first[0][2])[0]
    assert third[2] != first[0][2]
    assert packets.unpack(third[0], ray.get(third[2]), copy=True).equal(weights)
    assert not np.array_equal(stored, ray.get(third[2])[0])


def test_arrays_of_equal_memory_are_digested_once():
    """Digests tell contents: those of a view of the first half and of an equal copy, too."""
    weights = torch.rand(64, 64)
    jobs = [packets.pack(each) for each in (weights, weights, weights[:32], weights.clone(), weights + 1)]
    whole, again, half, copy, other = (each for (each,) in crew.digest_arrays(jobs))
    assert whole == again == copy == blake2b(weights.numpy().tobytes(), digest_size=16).digest()
    assert len({whole, half, other}) == 3


@pytest.mark.parametrize(
    "value",
    [
        torch.rand(3, 100, 50).transpose(0, 2),
        torch.rand(4, 5)[:, ::2],
        torch.rand(5000).bfloat16(),
        torch.rand(30, 300).argsort(-1).expand(2, 30, 300),
        torch.zeros(0, 3),
        torch.tensor(7),
        torch.nn.Linear(100, 60, bias=False).weight,
        np.arange(5000.0).reshape(50, 100).T,
    ],
    ids=str,
)
def test_packets_keep_values_and_the_order_of_axes_in_memory(value):
    again = packets.unpack(*packets.pack(value), copy=True)
    assert (type(again), again.dtype, again.shape) == (type(value), value.dtype, value.shape)
    assert bool((torch.as_tensor(again) == torch.as_tensor(value)).all())
    if value.size and 0 not in (strides := value.stride() if isinstance(value, torch.Tensor) else value.strides):
        own = again.stride() if isinstance(again, torch.Tensor) else again.strides
        assert sorted(range(value.ndim), key=own.__getitem__) == sorted(range(value.ndim), key=strides.__getitem__)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"workers": 0}, "runner.workers must be a whole number"),
        ({"timeout": 0}, "runner.timeout must be a finite number above 0"),
        ({"num_cpus": -1}, "runner.num_cpus must be a finite number"),
        ({"num_gpus": -1}, "runner.num_gpus must be a finite number"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, sentence):
    with pytest.raises(Refused, match=sentence):
        RayRunner(**settings)


def test_without_ray_there_is_an_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Refused, match=r"pip install 'marl_engine\[ray\]'"):
        RayRunner()
