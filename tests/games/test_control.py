"""Continuous control: tasks agree with Gymnasium, densities with torch, and a policy learns."""

import math
from copy import deepcopy

import gymnasium
import numpy as np
import pytest
import torch
from torch import distributions

from games.control.gymnasium import Control, seeds_of
from games.control.trajectory_preference import TrajectoryPreference
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Notice
from marl_engine.numerics.distributions.gaussian import Gaussian, Squashed, standard_normal
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.rollout import play, score
from marl_engine.types import Policy, Turn


@pytest.mark.parametrize(
    ("name", "horizon"), [("Pendulum-v1", 200), ("MountainCarContinuous-v0", 999), ("HalfCheetah-v5", 1000)]
)
def test_games_are_gymnasiums_step_by_step(name, horizon):
    """Observations, rewards and endings of two episodes, the second one with the documented seed."""
    game, seeds = Control(name), torch.tensor([5, -7])
    turn = game.reset(seeds)
    reference = [gymnasium.make(name) for _ in seeds]
    generator = torch.Generator().manual_seed(0)
    for opening in range(2):
        starts = seeds_of(seeds, torch.full_like(seeds, opening))
        observation = [task.reset(seed=start)[0] for task, start in zip(reference, starts, strict=True)]
        for step in range(horizon):
            torch.testing.assert_close(
                turn.observation[:, 0], torch.from_numpy(np.array(observation)).float(), atol=1e-6, rtol=0
            )
            actions = 4 * torch.rand(2, 1, game.actions, generator=generator) - 2
            turn = game.step(actions)
            bounded = actions.clamp(game.spaces.action.low, game.spaces.action.high)
            results = [task.step(action[0].numpy()) for task, action in zip(reference, bounded, strict=True)]
            observation = [each[0] for each in results]
            torch.testing.assert_close(turn.reward[:, 0], torch.tensor([each[1] for each in results]).float())
            assert turn.truncated.tolist() == [each[3] for each in results] == [step == horizon - 1] * 2
            torch.testing.assert_close(
                turn.final[:, 0], torch.from_numpy(np.array(observation)).float(), atol=1e-6, rtol=0
            )
        assert turn.done.all()


def test_copies_and_restored_games_of_gymnasium_continue_alike():
    """By replaying all actions, which needs no copy of the simulator."""
    game = Control("MountainCarContinuous-v0", horizon=30)
    game.reset(derive_seeds(0, 3))
    for step in range(40):
        game.step(torch.full((3, 1, 1), math.sin(step)))
    other, restored = deepcopy(game), Control("MountainCarContinuous-v0", horizon=30)
    restored.restore(game.state())
    for _ in range(25):
        push = torch.ones(3, 1, 1)
        turns = [each.step(push) for each in (game, other, restored)]
        assert torch.equal(turns[0].observation, turns[1].observation)
        assert torch.equal(turns[0].observation, turns[2].observation)
        assert turns[0].done.tolist() == turns[2].done.tolist()


def test_games_that_are_over_by_the_rules_are_not_truncated():
    """A car that always pushes in its direction reaches the hill before the time limit, and earns 100."""
    game = Control("MountainCarContinuous-v0")
    turn = game.reset(derive_seeds(1, 2))
    while not turn.done.any():
        turn = game.step(turn.observation[:, :, 1:].sign())
    (over,) = turn.done.nonzero()[:1, 0]
    assert not turn.truncated[over]
    assert turn.reward[over] > 90
    assert turn.final[over, 0, 0] >= 0.45


class Fragile(gymnasium.Env):
    """Counts steps; the task truncates itself at the third, and ends if it is pushed."""

    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.count < 3, "a task that was cut short is stepped on"
        self.count += 1
        return np.full(1, self.count, np.float32), 1.0, bool(action[0] > 0), self.count == 3, {}


@pytest.fixture
def fragile():
    gymnasium.register("Fragile-v0", Fragile, max_episode_steps=10)
    yield "Fragile-v0"
    del gymnasium.registry["Fragile-v0"]


def test_a_task_with_its_own_time_limit_is_truncated_and_restarted(fragile):
    """Copy 0 is not pushed; copy 1 is pushed at its third step, where it ends by its rules."""
    game = Control(fragile)
    game.reset(derive_seeds(0, 2))
    pushes = [[-1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    turns = [game.step(torch.tensor(push).view(2, 1, 1)) for push in pushes]
    assert [turn.done.tolist() for turn in turns] == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    assert turns[2].truncated.tolist() == [True, False]
    assert turns[2].final.flatten().tolist() == [3.0, 3.0]
    assert turns[2].observation.flatten().tolist() == [0.0, 0.0]
    assert turns[3].observation.flatten().tolist() == [1.0, 1.0]


def test_a_copy_rests_after_its_task_has_ended(fragile):
    game = TrajectoryPreference(fragile, horizon=5)
    game.reset(derive_seeds(0, 1))
    turns = [game.step(torch.full((1, 1, 1), -1.0)) for _ in range(5)]
    assert [turn.reward.item() for turn in turns] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert [turn.observation[0, 0, 0].item() for turn in turns[:4]] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("name", ["CartPole-v1", "Nowhere-v3", "FrozenLake-v1"])
def test_unknown_tasks_are_refused_with_a_list_of_tasks(name):
    with pytest.raises(ValueError, match="choose from Pendulum-v1, MountainCarContinuous-v0, or with"):
        Control(name)


def test_tasks_of_mujoco_are_played_with_their_own_preset():
    """Also where the extra is missing: presets are chosen by name."""
    with pytest.warns(Notice, match="Hopper-v5 is simulated by MuJoCo"):
        config = compose_config("train", ["game=control", "game.name=Hopper-v5", "responder.epochs=3"])
    assert config["game"]["name"] == "Hopper-v5"
    assert config["policy"]["normalise_observations"]
    assert (config["responder"]["epochs"], config["responder"]["value_normalisation"]) == (3, "running")
    pendulum = compose_config("train", ["game=control"])
    assert not pendulum["policy"]["normalise_observations"]


def test_the_first_deviation_is_a_share_of_half_the_box():
    game = Control()  # torques lie in [-2, 2]
    policy = MLPSpec(log_std=-1.0).profile(game)[0]
    turn = game.reset(derive_seeds(0, 3))
    distribution, _ = policy(policy.encode(turn.observation[:, 0], torch.zeros(3, dtype=torch.int64)))
    torch.testing.assert_close(distribution.log_std, torch.full((3, 1), math.log(2) - 1))
    with pytest.raises(ValueError, match=r"policy.log_std must be .* at most 2"):
        MLPSpec(log_std=3.0)


def test_invalid_actions_are_refused_and_not_played():
    game = Control()
    before = game.reset(derive_seeds(0, 2)).observation
    for wrong in (torch.zeros(2, 1, 2), torch.full((2, 1, 1), torch.nan)):
        with pytest.raises(ValueError, match=r"actions must be \(2, 1, 1\) finite numbers"):
            game.step(wrong)
    assert torch.equal(game.restore(game.state()).observation, before)


def gaussians():
    torch.manual_seed(0)
    mean, log_std = torch.randn(2, 50, 3), 0.5 * torch.randn(2, 50, 3)
    own = [Gaussian(*each) for each in zip(mean, log_std, strict=True)]
    reference = [distributions.Normal(*each) for each in zip(mean, log_std.exp(), strict=True)]
    return own, reference


def test_gaussians_are_torchs():
    (first, second), (reference, others) = gaussians()
    actions = torch.randn(50, 3)
    torch.testing.assert_close(first.log_prob(actions), reference.log_prob(actions).sum(-1))
    torch.testing.assert_close(first.entropy(), reference.entropy().sum(-1))
    torch.testing.assert_close(first.kl(second), distributions.kl_divergence(reference, others).sum(-1))
    assert first.kl(first).abs().max() == 0
    noise = torch.rand(50, 3)
    action, likely = first.sample(noise)
    torch.testing.assert_close(reference.cdf(action), noise, atol=1e-5, rtol=0)
    torch.testing.assert_close(likely, first.log_prob(action))
    assert standard_normal(torch.tensor([0.0, 1 - 2**-23])).isfinite().all()


def test_squashed_gaussians_are_torchs():
    """The entropy, which has no formula, agrees with the mean of 40 000 samples at the largest and smallest
    deviation.
    """
    (first, second), (reference, _) = gaussians()
    centre, half = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 2.0, 0.5])
    chain = [distributions.TanhTransform(cache_size=1), distributions.AffineTransform(centre, half)]
    own, reference_distribution = Squashed(first, centre, half), distributions.TransformedDistribution(reference, chain)
    noise = torch.rand(50, 3)
    action, likely = own.sample(noise)
    inside = ((action - centre) / half).abs().amax(-1) < 0.999  # beyond, both lose digits to tanh
    torch.testing.assert_close(
        likely[inside], reference_distribution.log_prob(action).sum(-1)[inside], atol=1e-3, rtol=1e-4
    )
    inner = first.from_normal(standard_normal(noise))
    torch.testing.assert_close(own.log_prob_of(inner)[inside], likely[inside], atol=1e-3, rtol=1e-4)
    assert torch.equal(own.kl(Squashed(second, centre, half)), first.kl(second))
    assert own.log_prob(centre + half.expand(50, 3)).isfinite().all()
    draws = standard_normal(torch.rand(40_000, 50, 3))
    sampled = -own.log_prob_of(first.from_normal(draws)).mean(0)
    torch.testing.assert_close(own.entropy(), sampled, atol=0.05, rtol=0)


class Still:
    """A task in which nothing happens, with three action components."""

    players, actions, observation_shape = 1, 3, (1,)

    def step(self, actions):
        assert actions.shape == (64, 1, 3)
        none, zero = torch.zeros(64, dtype=torch.bool), torch.zeros(64, 1)
        always = torch.ones(64, 1, 3, dtype=torch.bool)
        return Turn(zero[..., None], always, always[..., 0], zero, zero, none, none)


class Doubling(Policy):
    """Actions are twice the noise."""

    noise_shape = (3,)

    def forward(self, rows, legal=None, memory=None):
        return Gaussian(torch.zeros(len(rows), 3), torch.full((3,), math.log(2))), memory


def test_components_of_actions_have_independent_noise():
    """Actions (T, B, P, D) are doubled standard normal numbers, however play is divided into stretches."""
    game, seeds = Still(), derive_seeds(0, 64)
    turn = game.step(torch.zeros(64, 1, 3))
    parts = [play(game, [Doubling()], turn, seeds, *cut)[0].action for cut in ((0, 50), (0, 20), (20, 30))]
    assert torch.equal(parts[0], torch.cat(parts[1:]))
    numbers = parts[0].flatten(0, 2)
    torch.testing.assert_close(numbers.T.cov(), 4 * torch.eye(3), atol=0.3, rtol=0)
    torch.testing.assert_close(numbers.mean(0), torch.zeros(3), atol=0.15, rtol=0)


def test_the_clipped_surrogate_swings_a_pendulum_up():
    """Hanging still earns about -1200 on average; after 80 000 steps sampled play earns more than -600."""
    torch.manual_seed(0)
    game, network = Control(), MLPSpec()
    profile = network.profile(game)
    responder = PPO(
        game, network, num_envs=16, rollout_length=100, discount=0.9, learning_rate=2e-3, entropy_bonus=0.01
    )
    assert score(game, profile, derive_seeds(9, 64)).mean() < -1000
    while responder.work["steps"] < 80_000:
        responder.respond(profile)
    assert score(game, profile, derive_seeds(9, 64)).mean() > -600
