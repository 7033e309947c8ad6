"""Checkpoints of RLlib play as they do in RLlib, and enter tournaments."""

import json
import sys

import pytest
import torch
from command_runs import marl_train

pytest.importorskip("ray.rllib.algorithms.ppo", reason="there is no RLlib: make rllib-test installs it")

from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

from games.normal_form.games import MatrixGame
from games.overcooked import Overcooked
from games.rllib import to_rllib
from games.rllib.checkpoints import load_checkpoint
from marl_engine.commands import tournament
from marl_engine.errors import Refused
from marl_engine.runs.saved_weights import read_state


def save(config, game, policies, mapping, path, iterations=0):
    """Trains an algorithm of RLlib in a game, and saves its checkpoint; returns the algorithm."""
    register_env("game", lambda _: to_rllib(game, flat=True))
    config.environment("game").debugging(seed=0)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    config.multi_agent(policies=policies, policy_mapping_fn=mapping)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    algorithm.save_to_path(str(path))
    algorithm.stop()
    return algorithm


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The checkpoint of PPO with one module for both seats of rock, paper, scissors, and the algorithm."""
    path = tmp_path_factory.mktemp("ppo") / "checkpoint"
    config = PPOConfig().training(train_batch_size_per_learner=64, minibatch_size=64, num_epochs=1)
    return path, save(config, MatrixGame(name="rock_paper_scissors"), {"p"}, lambda *_, **__: "p", path, 1)


def log_probs(policy, game, seat=0):
    """Returns the log-probabilities of a policy at the opening of a game."""
    seen = game.reset(torch.zeros(1, dtype=torch.int64)).observation[:, seat]
    return policy(policy.encode(seen, torch.tensor([seat])))[0].log_probs


def test_a_checkpoint_plays_with_the_probabilities_of_rllib(shared):
    path, algorithm = shared
    game = MatrixGame(name="rock_paper_scissors")
    profile = load_checkpoint(str(path), game)
    assert profile[0] is profile[1]
    seen, _ = to_rllib(game, flat=True).reset(seed=0)
    outputs = algorithm.get_module("p").forward_inference({Columns.OBS: torch.from_numpy(seen["player_0"])[None]})
    expected = outputs[Columns.ACTION_DIST_INPUTS].log_softmax(-1)
    torch.testing.assert_close(log_probs(profile[0], game), expected)
    named = load_checkpoint(f"{path}@p", game)
    torch.testing.assert_close(log_probs(named[1], game, 1), log_probs(profile[1], game, 1))


def test_several_modules_play_the_seats_that_rllib_gave_them(tmp_path):
    """The modules of DQN, whose actions are those of the highest value."""
    game = MatrixGame(name="rock_paper_scissors")
    buffer = {"type": "MultiAgentEpisodeReplayBuffer"}
    config = DQNConfig().training(replay_buffer_config=buffer)
    save(config, game, {"a", "b"}, lambda agent, *_, **__: "b" if agent == "player_0" else "a", tmp_path / "dqn")
    first, second = load_checkpoint(str(tmp_path / "dqn"), game)
    (only, _), (other, _) = (load_checkpoint(f"{tmp_path / 'dqn'}@{name}", game) for name in ("b", "a"))
    for policy, same in ((first, only), (second, other)):
        assert all(torch.equal(each, same.state_dict()[name]) for name, each in policy.state_dict().items())
        assert log_probs(policy, game).exp().sum() == 1
        assert log_probs(policy, game).max() == 0


def test_a_checkpoint_enters_a_tournament(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [f"rllib:{shared[0]}", "rock", "random", "game=matrix", "games=20", "run=cup"]
    monkeypatch.setattr(sys, "argv", ["marl-tournament", *words])
    with pytest.raises(SystemExit) as end:
        tournament.main()
    assert end.value.code == 0, capsys.readouterr()
    report = json.loads((tmp_path / "runs" / "cup" / "tournament.json").read_text())
    assert f"rllib:{shared[0]}" in {each["name"] for each in report["entrants"]}


def test_a_checkpoint_is_the_first_member_of_psro(shared, tmp_path):
    words = ("game=matrix", "solver=psro", f"init=rllib:{shared[0]}", "run=psro", "iterations=2")
    done = marl_train(tmp_path, *words)
    assert (done.code, done.err) == (0, "")
    _, state = read_state(tmp_path / "runs/psro", "last")
    game = MatrixGame(name="rock_paper_scissors")
    policy = load_checkpoint(str(shared[0]), game)[0]
    for seat, members in enumerate(state["solver"]["population"]["members"]):
        torch.testing.assert_close(members[0]["strategy"].float(), log_probs(policy, game, seat)[0].exp())
        assert len(members) > 1


def test_what_cannot_play_is_refused(shared, tmp_path):
    game = MatrixGame(name="rock_paper_scissors")
    with pytest.raises(Refused, match="there is no checkpoint of RLlib at"):
        load_checkpoint(str(tmp_path), game)
    with pytest.raises(Refused, match=r"has no module 'q'; choose from p$"):
        load_checkpoint(f"{shared[0]}@q", game)
    with pytest.raises(Refused, match=r"observes .*, and to_rllib shows .*connectors of RLlib are not applied"):
        load_checkpoint(str(shared[0]), Overcooked(horizon=5))
