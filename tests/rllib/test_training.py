"""RLlib trains policies of this engine: in self-play, against opponents, in run folders, and as an oracle of PSRO."""

import json
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ray.rllib.algorithms.ppo", reason="there is no RLlib: make rllib-test installs it")

from command_runs import marl_train
from toys import Matrix

from games.normal_form.games import MatrixGame
from games.overcooked import Overcooked
from games.rllib import RLlibResponder
from games.rllib.lineup_env import Lineup, LineupEnv
from games.rllib.rows import layout_of
from marl_engine.commands import tournament
from marl_engine.errors import Halted
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mlp import MLPSpec
from marl_engine.runs import checkpoint, load_player
from marl_engine.runs.folder import RunFolder
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.tournaments.baselines import make_pure
from marl_engine.types import Opponents


class Turns(Matrix):
    """A team whose seats move in turn, twice each; the second seat may only take the first action."""

    def __init__(self):
        super().__init__(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), patience=4)
        self.spaces = Spaces(self.observation_shape, ActionSpace(2))

    def _turn(self, reward, done):
        turn = super()._turn(reward, done)
        turn.legal[:, 1, 1] = False
        return turn._replace(acting=self.clock[:, None] % 2 == torch.arange(2))


class Steering(Matrix):
    """Both seats choose a number in [-1, 3], and earn the negative square of its distance from 2."""

    def __init__(self):
        super().__init__(torch.zeros(1, 1))
        self.spaces = Spaces(self.observation_shape, ActionSpace(1, torch.tensor([-1.0]), torch.tensor([3.0])))

    def step(self, actions):
        self.clock[:] = 0
        return self._turn(-((actions[..., 0] - 2) ** 2), torch.ones(len(actions), dtype=torch.bool))


def make_responder(game, algorithm, **settings):
    """Returns a responder with small networks, and its profile."""
    torch.manual_seed(0)
    squashed = algorithm == "SAC" and isinstance(game, Steering)
    spec = MLPSpec(hidden=[16], action_values=algorithm == "DQN", squashed=squashed)
    small = {"num_envs": 8, "rollout_length": 16, "learning_rate": 0.02, "payoff_scale": 1.0}
    if algorithm in ("DQN", "SAC"):
        small["training"] = {"num_steps_sampled_before_learning_starts": 128, "train_batch_size_per_learner": 64}
    return RLlibResponder(game, spec, algorithm=algorithm, **small | settings), spec.profile(game)


@pytest.mark.parametrize(("algorithm", "iterations"), [("PPO", 3), ("APPO", 3), ("IMPALA", 4), ("DQN", 4)])
def test_every_algorithm_learns_when_seats_move_in_turn_and_actions_are_illegal(algorithm, iterations, monkeypatch):
    """The team earns 1 whenever the first seat takes its second action, in two of the four turns of a game.

    No other algorithm is imported: RLlib's registry would import all, one of which warns of an environment of its own.
    """
    monkeypatch.setattr("ray.rllib._register_all", pytest.fail)
    responder, profile = make_responder(Turns(), algorithm)
    metrics = [responder.respond(profile).metrics for _ in range(iterations)]
    assert responder.work["steps"] >= iterations * 8 * 16
    assert {name for each in metrics for name in each if name.startswith("loss/")}
    assert all(np.isfinite(list(each.values())).all() for each in metrics)
    turn = Turns().reset(torch.zeros(1, dtype=torch.int64))
    rows = profile[0].encode(turn.observation[:, 0], torch.zeros(1, dtype=torch.int64))
    first, second = profile[0].network(rows)[0].tolist()  # logits, or values; at first they differ by about 0.01
    assert second > first + 0.15


def test_convolutional_networks_learn():
    """One iteration moves the weights of their first layer."""
    torch.manual_seed(0)
    game, spec = Overcooked(horizon=10), CNNSpec(channels=(4,), hidden=(8,))
    profile = spec.profile(game)
    before = profile[0].network.convolutions[0].weight.detach().clone()
    responder = RLlibResponder(game, spec, num_envs=4, rollout_length=10)
    assert np.isfinite(responder.respond(profile).metrics["loss/policy"])
    moved = (profile[0].network.convolutions[0].weight - before).abs()
    assert 1e-4 < moved.max() < 0.1
    with pytest.raises(ValueError, match="DQN learns policy=network; PPO, APPO and IMPALA learn policy=cnn"):
        RLlibResponder(game, spec, algorithm="DQN")


def test_an_error_in_the_thread_that_learns_ends_the_run():
    """RLlib would wait for a thread that has ended."""
    responder, profile = make_responder(Turns(), "IMPALA")
    responder.respond(profile)

    def fail(**_):
        raise ArithmeticError("no loss")

    responder.trainer.algorithm.learner_group.foreach_learner(lambda each: vars(each).update(compute_losses=fail))
    with pytest.raises(Halted, match="learning by RLlib failed: no loss"):
        responder.respond(profile)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_actions_of_numbers_are_learned(algorithm):
    responder, profile = make_responder(Steering(), algorithm)
    metrics = [responder.respond(profile).metrics for _ in range(5)]
    assert metrics[-1]["return/mean"] > metrics[0]["return/mean"] + 0.5


def test_seats_learn_best_responses_to_opponents():
    """Against rock and against scissors, drawn with 9/10 and 1/10, paper earns 0.8."""
    game = MatrixGame(name="rock_paper_scissors")
    responder, profile = make_responder(game, "DQN")
    rock, scissors = make_pure(game, [0, 0]), make_pure(game, [2, 2])
    for _ in range(6):
        metrics = responder.respond(profile, Opponents([rock, scissors], (0.9, 0.1))).metrics
    assert {"return/0", "return/1", "return/mean"} <= metrics.keys()
    first = game.reset(torch.zeros(1, dtype=torch.int64)).observation[0]
    for seat, policy in enumerate(profile):
        rows = policy.encode(first[[seat]], torch.tensor([seat]))
        assert policy(rows)[0].mode().item() == 1


def test_an_environment_with_opponents_pays_what_the_game_pays():
    """The learner always plays paper, and meets rock and scissors in the share of their weights, in both seats."""
    game = MatrixGame(name="rock_paper_scissors")
    env = LineupEnv(game, layout_of(game), seed=3)
    env.next_lineup = Lineup(Opponents([make_pure(game, [0, 0]), make_pure(game, [2, 2])], (0.75, 0.25)), 0.0, 0.5)
    paid, seats = [], []
    for _ in range(400):
        seen, _ = env.reset()
        (agent,) = seen
        view = env.layout.read(torch.from_numpy(seen[agent])[None])
        assert f"player_{view.seat.item()}" == agent
        assert view.legal.all()
        _, rewards, ended, _, _ = env.step({agent: 1})
        assert ended["__all__"]
        paid.append(rewards[agent])
        seats.append(agent)
    played = env.take_played()
    assert played.steps == 400
    assert np.nanmean(played.payoffs) == pytest.approx(2 * np.mean(paid))
    assert np.mean(paid) == pytest.approx(0.25, abs=0.08)  # 0.5 * (0.75 - 0.25)
    assert sorted({*seats}) == ["player_0", "player_1"]


def test_equal_seeds_give_equal_weights_and_a_restored_learner_continues():
    """PPO that was saved after two iterations has the weights and the optimiser of one that was not."""
    ends = []
    for _ in range(2):
        responder, profile = make_responder(Turns(), "PPO")
        for _ in range(2):
            responder.respond(profile)
        ends.append((profile[0].state_dict(), get_state(responder)))
    assert all(torch.equal(one, ends[1][0][name]) for name, one in ends[0][0].items())


def test_a_learner_is_saved_in_a_checkpoint(tmp_path):
    responder, profile = make_responder(Turns(), "PPO")
    responder.respond(profile)
    responder.prepare(profile)
    state = get_state(responder)
    saved = checkpoint.read(checkpoint.write(tmp_path, 1, {"responder": state}))["responder"]
    other, fresh = make_responder(Turns(), "PPO")
    set_state(other, saved)
    other.prepare(fresh)
    restored = get_state(other)
    assert restored["work"] == state["work"]
    check_equal(restored["learner"], state["learner"])
    other.respond(fresh)


def check_equal(one, other):
    """Checks that two trees have the same structure and numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            check_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            check_equal(*pair)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


RUN = ("game=matrix", "game.name=rock_paper_scissors", "policy.hidden=[8]", "responder.num_envs=8", "threads=1")
SHORT = ("responder.rollout_length=16", "evaluate_every=2", "episodes=8", "steps=null", "save_every=1")


def test_a_run_is_evaluated_saved_resumed_and_rated(tmp_path, monkeypatch, capsys):
    code, out, err = marl_train(tmp_path, *RUN, *SHORT, "solver=rllib", "run=ppo", "iterations=2", "seed=0")
    assert (code, err) == (0, ""), out + err
    folder = tmp_path / "runs" / "ppo"
    assert {"metrics.jsonl", "summary.json", "checkpoints", "curve.png"} <= {each.name for each in folder.iterdir()}
    assert marl_train(tmp_path, "resume=runs/ppo", "iterations=3").code == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert all({"steps", "return/mean", "loss/policy", "loss/vf", "entropy"} <= row.keys() for row in rows)
    assert RunFolder(folder).config()["responder"]["algorithm"] == "PPO"
    monkeypatch.chdir(tmp_path)
    player = load_player("runs/ppo")
    assert player.iteration in (1, 2, 3)
    monkeypatch.setattr(sys, "argv", ["marl-tournament", "runs/ppo", "rock", "games=10"])
    with pytest.raises(SystemExit) as end:
        tournament.main()
    assert end.value.code == 0, capsys.readouterr()


def test_the_solver_chooses_the_policy_that_an_algorithm_needs(tmp_path):
    done = marl_train(tmp_path, *RUN, *SHORT, "solver=rllib", "solver.algorithm=DQN", "run=dqn", "iterations=1")
    assert (done.code, done.err) == (0, "")
    config = RunFolder(tmp_path / "runs" / "dqn").config()
    assert (config["policy"]["action_values"], config["policy"]["squashed"]) == (True, False)


def test_rllib_is_an_oracle_of_psro(tmp_path):
    """In Kuhn poker, whose NashConv is exact; the first member is uniform, with a NashConv of 11/12."""
    words = ("game=kuhn_poker", "solver=psro", "policy=network", "responder=rllib", "policy.hidden=[16]", "seed=0")
    sizes = ("responder.num_envs=16", "responder.rollout_length=16", "solver.oracle_steps=4", "iterations=1")
    faster = ("responder.learning_rate=0.01", "responder.payoff_scale=1", "steps=null", "run=psro", "threads=1")
    done = marl_train(tmp_path, *words, *sizes, *faster)
    assert (done.code, done.err) == (0, "")
    rows = (tmp_path / "runs" / "psro" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(rows[-1])
    assert last["newcomers"] >= 1
    assert last["nash_conv"] < 11 / 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("solver.algorithm=A3C",), "responder.algorithm must be one of PPO, APPO, IMPALA, DQN, SAC, not 'A3C'"),
        (("policy.action_values=true",), "policy.action_values must be false for responder.algorithm=PPO"),
        (
            ("responder=ippo", "steps=1000"),
            "PPO runs no algorithm of RLlib: RLlib needs `algorithm`; choose another, like responder",
        ),
        (("responder.algorithm=DQN",), "policy.action_values must be true for responder.algorithm=DQN"),
        (("responder.training.epoch=3",), "responder.training: "),
        (
            ("policy=gru",),
            "RLlib learns from single decisions here, and not from sequences, as policies with memory do: use "
            "policy=network or cnn, or responder=ippo with another solver, such as self_play",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words, message, tmp_path):
    done = marl_train(tmp_path, *RUN, *SHORT, "solver=rllib", "iterations=1", *words)
    assert done.code == 2
    assert message in done.err
