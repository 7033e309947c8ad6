"""Preferences between trajectories: comparisons are counted, and SPO finds the minimax winner."""

import math
from itertools import islice

import pytest
import torch
from torch import nn

from games.control.trajectory_preference import CENTRE, TrajectoryPreference, parts
from games.normal_form.games import PreferenceMatrix
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference.reward_model import bradley_terry
from marl_engine.responders.preference.trajectories import (
    compare_trajectories,
    repeat_over_steps,
    sample_verdicts,
    split_trajectories,
    win_rates,
)
from marl_engine.types import Turn, Work
from solvers.preference.reward_model import RewardModelling
from solvers.preference.trajectory_spo import TrajectorySPO

CYCLE = (
    0.5 + torch.as_tensor(PreferenceMatrix("cycle").earns[0]).float()
)  # b beats a and c beats b 9 to 1, a beats c 8 to 2


class Letters:
    """A game of `horizon` letters, one in each step; observations are the time."""

    players, symmetric, observation_shape = 1, True, (1,)

    def __init__(self, actions, horizon, flips=0.0):
        self.actions, self.horizon, self.flips = actions, horizon, flips

    def reset(self, seeds):
        return self.restore({"clock": torch.zeros(len(seeds), dtype=torch.int64)})

    def state(self):
        return {"clock": self.clock.clone()}

    def restore(self, state):
        self.clock = state["clock"].clone()
        return self._turn(torch.zeros(len(self.clock), dtype=torch.bool))

    def step(self, actions):
        self.clock = (self.clock + 1) % self.horizon
        return self._turn(self.clock == 0)

    def summary(self, reward, action):
        return action.T.float()

    def _turn(self, done):
        games = len(self.clock)
        always, zero = torch.ones(games, 1, self.actions, dtype=torch.bool), torch.zeros(games, 1)
        time = (2 * self.clock.float() / self.horizon - 1)[:, None, None]
        return Turn(time, always, always[..., 0], zero, zero, done, torch.zeros_like(done))


class Bandit(Letters):
    """One letter: a, b or c."""

    def compare(self, first, second):
        chance = CYCLE[first[..., 0].long(), second[..., 0].long()]
        return self.flips + (1 - 2 * self.flips) * chance


class Bits(Letters):
    """Eight bits: more ones among the first six are better, if the last two are zero."""

    def compare(self, first, second):
        scores = [each[..., :6].sum(-1) - 100 * (each[..., 6:].sum(-1) > 0) for each in (first, second)]
        return 0.5 + 0.5 * (scores[0] - scores[1]).sign()


def learn(game, solver, iterations, **fields):
    """Returns a solver's policies (iterations, H, A), and the work of all iterations."""
    torch.manual_seed(0)
    network = MLPSpec(hidden=(16,), activation="tanh")
    profile = network.profile(game)
    if isinstance(game, Bandit):
        with torch.no_grad():
            profile[0].network.biases[-1].copy_(torch.tensor([0.6, 0.3, 0.1]).log())
    usual = {
        "num_envs": 16,
        "rollout_length": game.horizon,
        "minibatches": 1,
        "entropy_bonus": 0.0,
        "payoff_scale": 1.0,
    }
    responder = PPO(game, network, **{**usual, "discount": 0.0, "normalise_advantage": False, **fields})
    times = 2 * torch.arange(game.horizon)[:, None] / game.horizon - 1
    policies, work = [], Work()
    for progress in islice(solver.solve(profile, responder), iterations):
        with torch.no_grad():
            policies.append(profile[0](times)[0].log_probs.exp())
        work += progress.work
    return torch.stack(policies), work


def gap(policy):
    """Returns 2 (max_y P(y > policy) - 1/2) in the cycle."""
    return 2 * (CYCLE @ policy).max().item() - 1


@pytest.mark.parametrize("flips", [0.0, 0.3])
def test_under_a_cycle_the_average_of_spo_is_near_equilibrium_and_its_last_policy_is_not(flips):
    policies, _ = learn(
        Bandit(3, 1, flips),
        TrajectorySPO(queue=200),
        600,
        learning_rate=1e-2,
        entropy_bonus=0.1 * (1 - 2 * flips),  # in proportion to what preferences differ by
    )
    assert gap(policies.mean(0)[0]) < 0.12
    assert gap(policies[-1, 0]) > 0.2


def test_a_reward_model_fitted_once_is_exploitable():
    """It prefers b, which beats the most frequent answer a; but c beats b 9 to 1."""
    solver = RewardModelling(refit_every=0, hidden=(8,), learning_rate=1e-2)
    policies, work = learn(Bandit(3, 1), solver, 300, num_envs=64, learning_rate=1e-2, entropy_bonus=0.1)
    assert gap(policies.mean(0)[0]) > 0.7
    assert work["queries"] == 500


def test_a_reward_model_fitted_to_its_own_policy_is_a_monotone_map_of_win_rates():
    """The maximum-likelihood model gives every answer its own win rate: sum_j pi_j sigma(s_i - s_j)."""
    policy, scores = torch.tensor([0.5, 0.2, 0.3]), nn.Parameter(torch.zeros(3))
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    weights = (policy[:, None] * policy).flatten()
    descent = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        descent.zero_grad()
        terms = [bradley_terry(scores, pair[None], CYCLE[tuple(pair)][None]) for pair in pairs]
        total = (torch.stack(terms) * weights).sum()
        total.backward()
        return total

    descent.step(loss)
    predictions = (scores[:, None] - scores).sigmoid() @ policy
    torch.testing.assert_close(predictions.detach(), CYCLE @ policy, atol=1e-4, rtol=0)


def test_preferences_that_are_no_sum_over_steps_need_spo_or_a_reward_model_with_time():
    ones = {}
    for name, solver in (
        ("spo", TrajectorySPO()),
        ("timeless", RewardModelling(hidden=(16,))),
        ("timed", RewardModelling(hidden=(16,), timed=True)),
    ):
        policies, _ = learn(Bits(2, 8), solver, 150, num_envs=32, learning_rate=1e-2, normalise_advantage=True)
        ones[name] = policies[-1, :, 1]
    zeros = {name: (1 - chance[6:]).prod().item() for name, chance in ones.items()}
    assert ones["spo"][:6].mean() > 0.95
    assert zeros["spo"] > 0.95
    assert zeros["timeless"] < 0.05
    assert zeros["timed"] > 0.95


def test_trajectories_are_compared_on_their_device():
    """On torch's meta device, which refuses tensors of several devices."""
    nowhere = torch.zeros(5, 6, device="meta")
    outcomes, _ = compare_trajectories(
        TrajectoryPreference(horizon=8, flips=0.1), nowhere[:3], nowhere, seed=0, queries=0
    )
    assert (outcomes.device.type, outcomes.shape) == ("meta", (3, 8))


def test_no_trajectory_is_compared_with_itself_and_a_pair_of_new_ones_once():
    new, old = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    outcomes, queries = compare_trajectories(Bandit(3, 1), new, old, seed=3, queries=10)
    assert queries == 3 + 3 * 2
    assert outcomes.diagonal().tolist() == [0.5] * 3
    assert torch.equal(outcomes[:, :3] + outcomes[:, :3].T, torch.ones(3, 3))
    assert outcomes[0, 3] == outcomes[1, 4] == 0.5  # the same letter, but another trajectory, which ties with it
    repetition, _ = compare_trajectories(Bandit(3, 1), new, old, seed=3, queries=10)
    assert torch.equal(repetition, outcomes)


def test_in_self_play_half_of_all_comparisons_are_won():
    """Exactly among new trajectories; on average against a queue of the same policy."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), 4000, True, generator=generator)[:, None].float()
    among, _ = compare_trajectories(Bandit(3, 1), letters[:200], letters[:0], seed=0, queries=0)
    assert win_rates(among).mean().item() == pytest.approx(0.5, abs=1e-6)
    queue_pairs, _ = compare_trajectories(Bandit(3, 1), letters[:200], letters[200:], seed=0, queries=0)
    assert win_rates(queue_pairs).mean().item() == pytest.approx(0.5, abs=0.02)


def test_answers_come_as_often_as_their_chances_say():
    chances = torch.tensor([0.1, 0.7]).repeat(20_000, 1)
    verdicts = sample_verdicts(chances, seed=1, queries=0)
    torch.testing.assert_close(verdicts.mean(0), chances[0], atol=0.01, rtol=0)
    assert torch.equal(
        sample_verdicts(chances[10:], 1, 20), verdicts[10:]
    )  # the number of a question decides its answer
    assert not torch.equal(sample_verdicts(chances, 2, 0), verdicts)


def test_stretches_of_play_are_split_into_trajectories_and_merged():
    play = torch.arange(24.0).view(6, 4, 1)  # T = 6 turns of B = 4 games, in trajectories of 3
    cut = split_trajectories(play, 3)
    assert cut[:, 0, 0].tolist() == [0, 4, 8]
    assert cut[:, 4, 0].tolist() == [12, 16, 20]
    assert torch.equal(repeat_over_steps(cut[..., 0], 6, 3), play)
    assert repeat_over_steps(torch.arange(8.0), 6, 3)[:, 1, 0].tolist() == [1, 1, 1, 5, 5, 5]


def around(angles):
    """Returns summaries (N, 6) of trajectories at angles (N,) about the centre."""
    angles = torch.as_tensor(angles)
    pushes = torch.tensor(CENTRE) + 0.4 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    return torch.cat([torch.zeros(len(angles), 4), pushes], dim=-1)


def test_raters_on_a_circle_prefer_each_quarter_to_the_next_three_to_one():
    game = TrajectoryPreference(preference="intransitive", horizon=8)
    quarters = around([index * math.pi / 2 for index in range(4)])
    for index in range(4):
        ahead, behind = quarters[(index + 1) % 4], quarters[index]
        assert game.compare(behind, ahead).item() == pytest.approx(0.75, abs=1e-5)
        assert game.compare(ahead, behind).item() == pytest.approx(0.25, abs=1e-5)
        assert game.compare(ahead, ahead).item() == 0.5
    everywhere, anywhere = around(torch.linspace(0, 2 * math.pi, 1001)[:-1] + 1e-3), around([0.3, 2.0, 4.4])
    wins = game.compare(anywhere[:, None], everywhere[None]).mean(1)
    torch.testing.assert_close(wins, torch.full((3,), 0.5), atol=1e-3, rtol=0)


def test_preferences_follow_returns_noise_and_the_limit():
    def preferred(first, second, **fields):
        rows = [torch.tensor([*each, 0.0, 0.0]) for each in (first, second)]
        return TrajectoryPreference(horizon=8, **fields).compare(*rows).item()

    more, less = (-1.0, -1, -1, -1), (-2.0, -1, -1, -1)
    assert preferred(more, less) == 1
    assert preferred(less, more, flips=0.3) == pytest.approx(0.3)
    assert preferred(more, less, temperature=2.0) == pytest.approx(1 / (1 + math.exp(-0.5)))
    settings = {"preference": "non_markovian", "limit": -100.0}
    assert preferred((-5, 0, 0, -100), (0, 0, 0, -99), **settings) == 1  # the other breaks the limit
    assert preferred((-5, 0, 0, -150), (-4, 0, 0, -300), **settings) == 0  # none does
    assert preferred((-5, 0, 0, -20), (-4, 0, 0, -10), **settings) == 1  # both do, this one by less


def test_summaries_are_sums_over_quarters_and_means_over_halves():
    game = TrajectoryPreference(horizon=8)
    reward = torch.arange(8.0)[:, None]
    action = torch.tensor([2.0, 2, 2, 2, -2, -2, 0, 5])[:, None, None]  # torques beyond 2 are 2
    assert game.summary(reward, action).tolist() == [[1, 5, 9, 13, 1, -0.25]]
    assert parts(torch.ones(10, 1), 4).tolist() == [[2, 3, 2, 3]]


def test_trajectories_have_equal_lengths_and_new_seeds():
    """A car on the hill stands still until the horizon, without reward."""
    game = TrajectoryPreference("MountainCarContinuous-v0", horizon=300)
    turn, paid = game.reset(derive_seeds(0, 3)), []
    for step in range(300):
        assert turn.observation[0, 0, 2].item() == pytest.approx(2 * step / 300 - 1)
        observation = turn.observation
        turn = game.step(observation[:, :, 1:2].sign())
        paid.append(turn.reward)
    assert turn.done.all()
    assert not turn.truncated.any()
    assert (torch.stack(paid) > 50).sum(0).tolist() == [[1]] * 3  # the prize is won once
    assert (observation[:, 0, 0] >= 0.45).all()
    assert (turn.observation[:, 0, 0] < -0.3).all()


def test_a_reward_model_needs_a_pair_of_trajectories():
    with pytest.raises(ValueError, match="pairs of trajectories are compared, and there is one"):
        learn(Bandit(3, 1), RewardModelling(), 1, num_envs=1)


def test_every_fit_of_a_reward_model_draws_other_numbers(monkeypatch):
    """A generator is seeded once in an iteration, for the pairs that are compared and for those that are learned."""
    seeds, seed_generator = [], torch.Generator.manual_seed

    class Generator(torch.Generator):
        def manual_seed(self, seed):
            seeds.append(seed)
            return seed_generator(self, seed)

    solver = RewardModelling(comparisons=8, updates=2)
    monkeypatch.setattr("solvers.preference.reward_model.torch.Generator", Generator)
    learn(Bandit(3, 1), solver, 3, seed=7)
    assert [seed - 7_000_021 for seed in seeds if seed >= 7_000_021] == [0, 8, 16]
