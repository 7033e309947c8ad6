"""Play ahead: what is learned from is one update old, V-trace corrects it, and nothing depends on when workers play."""

from copy import deepcopy
from dataclasses import dataclass, replace

import pytest
import torch
from toys import Matrix

from games.recall import Recall
from marl_engine.losses.gae import gae
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.weights import weights_equal
from marl_engine.responders.overlap import correct
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.levels import Stages
from marl_engine.rollout.likelihood import action_log_probs
from marl_engine.runners import LOCAL
from marl_engine.types import Objective, Opponents

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


@dataclass
class Worker:
    """A runner that plays ahead in this process: before the learner learns, or only when the result is needed."""

    late: bool = False
    overlap: bool = True

    def map(self, job, arguments):
        return [job(each) for each in arguments]

    def complete(self, job, arguments):
        return enumerate(map(job, arguments))

    def start(self, job, arguments):
        if self.late:
            return lambda: self.map(job, arguments)
        results = self.map(job, deepcopy(list(arguments)))  # workers have shards of their own
        return lambda: results


def make_learner(runner, **settings):
    """Returns a learner with memory, levels and shards, its profile and two opponents."""
    torch.manual_seed(0)
    network, game = RecurrentSpec(units=8, hidden=(8,)), Recall(delay=2)
    profile, opponents = network.profile(game), Opponents([freeze(network.profile(game)) for _ in range(2)], (0.3, 0.7))
    defaults = {"num_envs": 12, "rollout_length": 7, "minibatches": 2, "learning_rate": 0.05, "shard": 5}
    defaults["levels"] = Stages([1, 2], threshold=0.3, games=20)
    return PPO(game, network, runner=runner, **{**defaults, **settings}), profile, opponents


def numbers(step):
    return {name: number for name, number in step.metrics.items() if "second" not in name}


def trace(reward, value, rho, done, after, discount=0.5, gae_lambda=1.0):
    """Returns A and rho * A of one seat in one game."""
    shape = (-1, 1, 1)
    advantage, _ = gae(
        torch.tensor(reward).view(shape),
        torch.tensor(value).view(shape),
        torch.tensor(done).view(-1, 1),
        torch.ones(len(reward), 1, 1, dtype=torch.bool),
        after=torch.tensor([[after]]),
        ending=None,
        rho=None if rho is None else torch.tensor(rho).view(shape),
        discount=discount,
        gae_lambda=gae_lambda,
    )
    ratio = torch.ones(len(reward)) if rho is None else torch.tensor(rho)
    return advantage.flatten(), ratio * advantage.flatten()


def test_v_trace_by_hand():
    # delta_1 = 2 + .5 * 3 - 2 = 1.5, delta_0 = 1 + .5 * 2 - 1 = 1; equation 1 of IMPALA with c = rho:
    # v_1 = 2 + .25 * 1.5 = 2.375, v_0 = 1 + .5 * 1 + .5 * .5 * .25 * 1.5 = 1.59375; r_0 + .5 * v_1 - V_0 = 1.1875
    advantage, error = trace([1.0, 2.0], [1.0, 2.0], [0.5, 0.25], [False, False], 3.0)
    assert advantage.tolist() == [1.1875, 1.5]
    assert error.tolist() == [0.59375, 0.375]


def test_v_trace_is_equation_1_of_the_paper():
    """As a sum over later decisions, with lambda in c (remark 2), for games that end on the way."""
    draw = torch.Generator().manual_seed(0)
    reward, value, ratio = (torch.rand(8, generator=draw, dtype=torch.float64) for _ in range(3))
    done, after, discount, gae_lambda = [False, False, True, False, False, False, True, False], 0.7, 0.9, 0.8
    following = [*value.tolist()[1:], after]
    delta = [
        float(rho * (gain + discount * (0 if over else later) - now))
        for rho, gain, over, later, now in zip(ratio, reward, done, following, value, strict=True)
    ]
    expected = []
    for first in range(8):
        total, weight = 0.0, 1.0
        for place in range(first, 8):
            total += weight * delta[place]
            weight *= 0 if done[place] else discount * gae_lambda * float(ratio[place])
        expected.append(total)
    _, error = trace(*(each.tolist() for each in (reward, value, ratio)), done, after, discount, gae_lambda)
    torch.testing.assert_close(error, torch.tensor(expected))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.6, 1.0])
def test_v_trace_is_gae_if_the_policy_has_not_changed(gae_lambda):
    """With lambda 1 both are the return minus the value."""
    draw = torch.Generator().manual_seed(0)
    reward, value = (torch.rand(6, generator=draw).tolist() for _ in range(2))
    done = [False, True, False, False, False, False]
    plain, _ = trace(reward, value, None, done, 0.4, 0.9, gae_lambda)
    corrected, error = trace(reward, value, [1.0] * 6, done, 0.4, 0.9, gae_lambda)
    assert torch.equal(plain, corrected)
    assert torch.equal(plain, error)
    if gae_lambda == 1:
        result = sum(0.9**place * gain for place, gain in enumerate(reward[2:])) + 0.9**4 * 0.4
        assert plain[2].item() == pytest.approx(result - value[2])


def test_values_of_v_trace_are_those_of_the_truncated_policy():
    """Of one decision: mu = (1/2, 1/2) plays and pi = (1/4, 3/4) learns. Where errors cancel, V is the value of the
    policy ~ min(mu, pi) = (1/4, 1/2), as the paper's equation 3 says.
    """
    value, errors = (1 / 4 * 5.0 + 1 / 2 * 2.0) / (3 / 4), []
    for reward, ratio in ((5.0, (1 / 4) / (1 / 2)), (2.0, min(1.0, (3 / 4) / (1 / 2)))):
        errors.append(trace([reward], [value], [ratio], [True], 0.0)[1].item())
    assert sum(errors) / 2 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("against", [False, True])
def test_nothing_depends_on_when_workers_play(against):
    """Before the learner learns, or after it: metrics, trajectories and weights are the same."""
    ends = []
    for late in (False, True):
        learner, profile, opponents = make_learner(Worker(late))
        steps = [learner.respond(profile, opponents if against else None) for _ in range(4)]
        ends.append((profile[0], [numbers(step) for step in steps], steps[-1].batch[0].log_prob))
    assert weights_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert torch.equal(ends[0][2], ends[1][2])
    assert [each["staleness"] for each in ends[0][1]] == ([0, 0, 1, 1] if against else [0, 1, 1, 1])
    assert all(0.5 < each["rho"] < 1 for each in ends[0][1] if each["staleness"])


def test_play_is_that_of_the_weights_before_the_last_update_and_ratios_are_to_those_that_learn():
    learner, profile, _ = make_learner(Worker(), levels=None)
    before, parts, play = [], [], learner.lineups.play

    def watch(*arguments):
        result = play(*arguments)
        parts.append(next(iter(result[1].values()))[0])
        return result

    learner.lineups.play = watch
    for number in range(3):
        before.append(freeze(profile)[0])
        (trajectory,) = learner.respond(profile).batch
        actor = before[max(0, number - 1)]
        for seat in range(len(profile)):
            played = trajectory.log_prob[..., seat][trajectory.acting[..., seat]]
            again = action_log_probs(actor, trajectory, seat)[trajectory.acting[..., seat]]
            torch.testing.assert_close(again, played)
    corrected, stale = correct(before[2], parts[2]), parts[2].trajectory
    now = torch.stack([action_log_probs(before[2], stale, seat) for seat in range(len(profile))], dim=-1)
    rho = (now - stale.log_prob).exp().clamp(max=1)
    torch.testing.assert_close(corrected.rho[stale.acting], rho[stale.acting])
    torch.testing.assert_close(corrected.trajectory.log_prob[stale.acting], now[stale.acting])
    assert correct(before[0], parts[0]) is parts[0]
    assert rho.min() < 0.98


def test_the_first_gradient_is_the_policy_gradient_of_v_trace():
    """mean of rho * A * grad log pi, by autograd."""
    torch.manual_seed(0)
    game, network = Matrix(PENNIES, team=False, patience=3), MLPSpec(hidden=(8,), shared=False)
    profile = network.profile(game)
    settings = {"epochs": 1, "minibatches": 1, "normalise_advantage": False, "entropy_bonus": 0.0, "clip": torch.inf}
    learner = PPO(game, network, runner=Worker(), shard=2, num_envs=4, rollout_length=5, learning_rate=0.1, **settings)
    learner.respond(profile)
    policy, critic = deepcopy(profile[0]), deepcopy(learner._learner(profile[0]).critic)
    (trajectory,) = learner.respond(profile).batch
    ones = torch.ones(*trajectory.done.shape, 1)
    value = critic(critic.encode(torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))).item()
    log_prob = action_log_probs(policy, trajectory, 0)
    rho = (log_prob.detach() - trajectory.log_prob[..., 0]).exp().clamp(max=1)[..., None]
    advantage, _ = gae(
        0.1 * trajectory.reward[..., :1],
        value * ones,
        trajectory.done,
        trajectory.acting[..., :1],
        after=torch.full((4, 1), value),
        ending=value * trajectory.truncated[..., None],
        rho=rho,
        discount=0.99,
        gae_lambda=0.95,
    )
    (-(rho * advantage)[..., 0] * log_prob).mean().backward()
    expected = torch.cat([each.grad.flatten() for each in policy.parameters()])
    torch.testing.assert_close(learner._learner(profile[0]).policy_optimiser.gradient, expected, rtol=1e-4, atol=1e-6)
    assert rho.min() < 0.99


def test_the_first_step_is_that_of_a_learner_that_waits():
    policies = []
    for runner in (Worker(), LOCAL):
        learner, profile, _ = make_learner(runner)
        learner.respond(profile)
        policies.append(profile[0])
    assert weights_equal(*policies)


def test_what_was_played_for_other_opponents_or_weights_is_played_again():
    """With opponents that change in every step, or a rollback after every step, overlap changes nothing."""
    policies = []
    for runner in (Worker(), LOCAL):
        learner, profile, opponents = make_learner(runner)
        policies.append(profile[0])
        for members in (opponents, None, opponents._replace(weights=(0.5, 0.5)), opponents):
            learner.respond(profile, members)
        snapshot = learner.snapshot(profile)
        learner.respond(profile)
        learner.rollback(profile, snapshot)
        learner.respond(profile)
    assert weights_equal(*policies)


@pytest.mark.parametrize("against", [False, True])
def test_a_resumed_learner_goes_on_with_the_same_bits(against):
    """The stretch under way is played again with the weights before the last update."""
    (first, profile, opponents), (second, other, same) = (make_learner(Worker(late)) for late in (False, True))
    for _ in range(3):
        first.respond(profile, opponents if against else None)
    first.prepare(profile)
    state, weights = deepcopy((get_state(first), profile[0].state_dict()))
    other[0].load_state_dict(weights)
    second.prepare(other)
    set_state(second, state)
    steps = [
        learner.respond(each, members if against else None)
        for learner, each, members in ((first, profile, opponents), (second, other, same))
    ]
    assert numbers(steps[0]) == numbers(steps[1])
    assert steps[0].metrics["staleness"] == 1
    assert weights_equal(profile[0], other[0])


def test_kl_terms_and_sequential_updates_learn_from_stale_play():
    torch.manual_seed(0)
    game, network = Matrix(PENNIES, patience=3), MLPSpec(hidden=(8,), shared=False)
    profile = network.profile(game)
    learner = PPO(game, network, runner=Worker(), shard=2, num_envs=4, rollout_length=6, sequential=True)
    steps = [learner.respond(profile, objective=Objective(anchor=freeze(profile), step_size=1.0)) for _ in range(3)]
    assert steps[-1].metrics["staleness"] == 1
    assert 0 < steps[-1].metrics["rho"] <= 1


def test_overlap_without_shards_is_refused():
    learner, _, _ = make_learner(LOCAL)
    with pytest.raises(ValueError, match=r"runner.overlap=true needs responder.shard=GAMES"):
        replace(learner, runner=Worker(), shard=None)
