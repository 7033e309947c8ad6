"""Games as environments of RLlib pass its checks, pay what the games pay, and are learned by its PPO."""

import numpy as np
import pytest
import torch

pytest.importorskip("ray.rllib.algorithms.ppo", reason="there is no RLlib: make rllib-test installs it")

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.pre_checks.env import check_multiagent_environments
from ray.tune.registry import register_env
from toys import Matrix

from games.mpe import ParticleWorlds
from games.normal_form.games import MatrixGame
from games.overcooked import Overcooked
from games.recall import Recall
from games.rllib import to_rllib
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Turn


class InTurn(Matrix):
    """The seats move in turn, the second action is illegal for the first seat, and a game lasts three moves."""

    def __init__(self):
        super().__init__(torch.eye(2), patience=3)
        self.spaces = Spaces(self.observation_shape, ActionSpace(2))

    def _turn(self, reward, done) -> Turn:
        turn = super()._turn(reward, done)
        mover = self.clock[:, None] % 2 == torch.arange(2)
        turn.legal[:, 0, 1] = False
        return turn._replace(acting=mover)


GAMES = {
    "overcooked": lambda: Overcooked(horizon=15),
    "spread": lambda: ParticleWorlds(scenario="simple_spread"),
    "recall": lambda: Recall(delay=2),
    "matrix": lambda: MatrixGame(name="rock_paper_scissors"),
    "in turn": InTurn,
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("flat", [False, True])
def test_environments_pass_the_checks_of_rllib(name, flat):
    check_multiagent_environments(to_rllib(GAMES[name](), flat=flat))


@pytest.mark.parametrize("name", GAMES)
def test_observations_are_in_their_space_and_rewards_are_those_of_the_game(name):
    """The same actions are played in the game and in its environment, by the seats that act, legal ones only."""
    env, game, random = to_rllib(GAMES[name](), flat=True, shaping=0.5), GAMES[name](), np.random.default_rng(0)
    seen, _ = env.reset(seed=3)
    game.reset(torch.tensor([int(np.random.default_rng(3).integers(2**62))]))
    for _ in range(60):
        assert all(env.get_observation_space(agent).contains(each) for agent, each in seen.items())
        chosen = {agent: env.get_action_space(agent).sample() for agent in seen}
        if env.masks:
            chosen = {agent: int(random.choice(np.flatnonzero(each["action_mask"]))) for agent, each in seen.items()}
        actions = torch.tensor([[int(chosen.get(agent, 0)) for agent in env.possible_agents]])
        seen, rewards, ended, cut, _ = env.step(chosen)
        turn = game.step(actions)
        paid = (turn.reward + 0.5 * turn.shaping)[0].tolist()
        assert list(rewards.values()) == pytest.approx(paid)
        assert (ended["__all__"], cut["__all__"]) == (bool(turn.done & ~turn.truncated), bool(turn.truncated))
        if turn.done.item():
            assert set(seen) == set(env.possible_agents)
            break
    else:
        raise AssertionError("the game did not end")


def test_seats_that_wait_are_not_observed():
    env = to_rllib(InTurn())
    first, _ = env.reset(seed=0)
    second, *_ = env.step({"player_0": 0})
    assert [set(first), set(second)] == [{"player_0"}, {"player_1"}]
    assert first["player_0"]["action_mask"].tolist() == [1, 0]


def test_ppo_of_rllib_learns_a_coordination_game():
    """Both seats earn 1 if their actions are equal; random play earns 1/2 each."""

    class Coordination(Matrix):
        def __init__(self):
            super().__init__(torch.eye(2))
            self.spaces = Spaces(self.observation_shape, ActionSpace(2))

    register_env("coordination", lambda _: to_rllib(Coordination()))
    config = (
        PPOConfig()
        .environment("coordination")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=8, lr=0.03)
        .multi_agent(policies={"p"}, policy_mapping_fn=lambda *_, **__: "p")
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16]))
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(4)]
    assert returns[-1] > 1.8  # of at most 2, summed over the seats
    algorithm.stop()
