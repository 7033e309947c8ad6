"""Mirror descent policy optimisation and soft actor-critic converge to known solutions."""

from copy import deepcopy
from itertools import islice

import pytest
import torch
from contracts import parts
from torch import nn
from toys import Matrix

from games.control.gymnasium import Control
from games.normal_form.games import PreferenceMatrix
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.off_policy.replay_buffer import (
    ReplayBuffer,
    Transitions,
    TwinCritic,
    actor_loss,
    soft_target,
)
from marl_engine.responders.off_policy.sac import SAC
from marl_engine.responders.ppo import PPO
from marl_engine.responders.regulariser import KLTerm
from marl_engine.runs.factory import build
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Objective, Turn
from solvers.mirror_descent.mdpo import MDPO
from solvers.mirror_descent.mmd import MMD

STATES, ACTIONS, DISCOUNT = 20, 5, 0.95


def random_process():
    """Returns transitions (S, A, S) and rewards (S, A) of a random decision process."""
    generator = torch.Generator().manual_seed(0)
    moves = torch.rand(STATES, ACTIONS, STATES, generator=generator, dtype=torch.float64) ** 8
    return moves / moves.sum(-1, keepdim=True), torch.rand(STATES, ACTIONS, generator=generator, dtype=torch.float64)


def advantages(policy, moves, rewards):
    """Returns exact values (S,) and advantages (S, A) of a policy (S, A)."""
    earned, onward = (policy * rewards).sum(1), torch.einsum("sa,sat->st", policy, moves)
    value = torch.linalg.solve(torch.eye(STATES, dtype=torch.float64) - DISCOUNT * onward, earned)
    return value, rewards + DISCOUNT * moves @ value - value[:, None]


def mirror_loss(pi, old, advantage, step_size):
    """Returns -mean_s [sum_a pi A - KL(pi || old) / step_size]."""
    return -(pi.log_probs.exp() * advantage).sum(-1).mean() + pi.kl(old).mean() / step_size


def descend(logits, advantage, step_size, steps, rate):
    """Returns logits (S, A) after some gradient steps on the mirror loss."""
    old, logits = Categorical(logits.clone()), logits.clone().requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(mirror_loss(Categorical(logits), old, advantage, step_size), logits)
        logits = (logits - rate * slope).detach().requires_grad_()
    return logits.detach()


def test_ten_steps_in_ten_iterations_are_worth_more_than_one_in_forty():
    process = random_process()
    ends = {}
    for steps, iterations in ((1, 40), (10, 10)):
        logits = torch.zeros(STATES, ACTIONS, dtype=torch.float64)
        for iteration in range(iterations):
            value, advantage = advantages(logits.softmax(-1), *process)
            scaled = advantage / advantage.std()
            logits = descend(logits, scaled, max(1 - iteration / iterations, 1e-3), steps, rate=10.0)
        ends[steps] = advantages(logits.softmax(-1), *process)[0].mean()
    assert value.mean() < ends[10]
    assert ends[10] >= ends[1]


def test_many_steps_lead_to_the_closed_form():
    """pi ~ old exp(t A)."""
    torch.manual_seed(0)
    logits, advantage = torch.randn(2, STATES, ACTIONS, dtype=torch.float64)
    result = descend(logits, advantage, 0.5, 4000, rate=5.0)
    torch.testing.assert_close(result.softmax(-1), (logits + 0.5 * advantage).softmax(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("game", ["overcooked", "control"])
def test_the_first_step_of_the_responder_is_the_policy_gradient(game):
    """At the anchor the KL has no gradient, and that of the ratio is that of the log-probability."""
    components = parts(solver="mdpo", game=game)
    responder, (policy, *_) = components.responder, components.profile
    _, shares, _ = responder._play(components.profile, None)
    batch, _ = responder._batches(responder._learner(policy), shares[policy][0])
    responder.schedules["entropy_bonus"].start = responder.schedules["entropy_bonus"].value = 0.0
    terms = [KLTerm(freeze(components.profile)[0], 7.0)]
    losses = (
        lambda: responder._update().policy_loss(policy, terms, batch)[0],
        lambda: -(policy(batch.rows, batch.legal)[0].log_prob(batch.action) * batch.advantage).mean(),
    )
    slopes = [torch.autograd.grad(loss(), list(policy.parameters())) for loss in losses]
    for first, plain in zip(*slopes, strict=True):
        torch.testing.assert_close(first, plain, atol=1e-5, rtol=1e-4)


CIRCLE = ["game=preference/cycle", "solver=mdpo", "solver.step_size=4.0", "steps=1000000", "policy.hidden=[8]"]


def on_the_circle(*keys):
    """Builds MDPO's preset on three answers that are chosen once; both seats start near (.6, .3, .1)."""
    components = build(compose_config("train", [*CIRCLE, "responder.entropy_bonus=0.0", *keys]))
    with torch.no_grad():
        components.profile[0].network.biases[-1].copy_(torch.tensor([0.6, 0.3, 0.1]).log())
    components.responder._learner(components.profile[0])  # its critic is drawn now, and is the same in copies
    return components


def chances(components):
    """Returns the probabilities of the three answers in both seats, (2, 3)."""
    return torch.from_numpy(extract_strategy(components.game, components.profile)[2:]).view(2, 3)


def closed_form(components):
    """Returns pi_k exp(step * A) / Z (2, 3), with A the mean advantage in the next rollout, in units of payoff."""
    profile, responder = deepcopy((components.profile, components.responder))
    _, parts, _ = responder._play(profile, None)
    decided, unit = responder._scale_advantage(
        responder._batches(responder._learner(profile[0]), parts[profile[0]][0])[0]
    )
    seat, old = decided.rows[:, 0], chances(components)  # a row is the number of its information set
    total = torch.zeros_like(old).index_put_((seat, decided.action), decided.advantage.double(), accumulate=True)
    advantage = total / (seat.bincount()[:, None] * old) / unit
    return (old.log() + components.solver.step_size * advantage).softmax(-1)


@pytest.mark.parametrize("normalise", [False, True])
def test_mdpo_goes_all_the_way_to_its_mirror_step_and_the_first_steps_part_of_it(normalise):
    """A16: with many inner steps the responder reaches the closed form of its rollout; m = 10 gets closer than m
    = 1.
    """
    left = []
    for steps in (1, 10, 200):
        scaled = [
            f"responder.normalise_advantage={normalise}",
            "responder.payoff_scale=0.5",
            "responder.rollout_length=8",
        ]
        components = on_the_circle(*scaled, f"responder.epochs={steps}", "responder.learning_rate=0.05")
        target = closed_form(components)
        assert float((chances(components) - target).abs().max()) > 0.2
        next(components.solver.solve(components.profile, components.responder))
        left.append(float((chances(components) - target).abs().max()))
    assert left[1] < 0.7 * left[0]
    assert left[2] < 1e-4


def test_one_step_of_mdpo_is_the_policy_gradient_however_it_is_anchored():
    """m = 1: the step is along the gradient of the payoff, computed from the game's matrix."""
    components = on_the_circle(
        "responder.epochs=1", "responder.num_envs=4096", "responder.rollout_length=16", "policy.shared=false"
    )
    with torch.no_grad():
        components.profile[1].network.biases[-1].copy_(torch.tensor([0.2, 0.2, 0.6]).log())
    here = [policy(torch.eye(2)[[seat]])[0].log_probs[0].exp() for seat, policy in enumerate(components.profile)]
    exact = []
    for policy, first, other in zip(components.profile, here, here[::-1], strict=True):
        slopes = torch.autograd.grad(
            first @ components.game.earns[0].float() @ other.detach(), list(policy.parameters())
        )
        exact.append(torch.cat([each.flatten() for each in slopes]))
    next(components.solver.solve(components.profile, components.responder))
    for policy, slope in zip(components.profile, exact, strict=True):
        result = -components.responder._learner(policy).policy_optimiser.gradient
        assert float(torch.cosine_similarity(result, slope, dim=0)) > 0.99


@pytest.mark.parametrize("seed", [0, 1])
def test_ten_iterations_of_mdpo_go_where_ten_of_hedge_go(seed):
    """pi_0 exp(10 t A) / Z with many inner steps; with one in each iteration, Adam goes elsewhere."""
    torch.manual_seed(seed)
    earned, missed = torch.tensor([0.0, 0.5, 1.0]), {}
    for steps in (1, 40):
        game, network = Matrix(earned[:, None].expand(3, 3)), MLPSpec(hidden=(8,), shared=False)
        profile = network.profile(game)
        keys = {"rollout_length": 4, "minibatches": 1, "epochs": steps, "entropy_bonus": 0.0, "clip": float("inf")}
        responder = PPO(game, network, seed=seed, learning_rate=0.05, **keys)
        start, _ = profile[0](torch.ones(1, 1))
        target = (start.log_probs[0].detach() + 10 * 0.3 * earned).softmax(-1)
        for _ in islice(MDPO(0.3).solve(profile, responder), 10):
            pass
        end, _ = profile[0](torch.ones(1, 1))
        missed[steps] = float((end.log_probs[0].detach().exp() - target).abs().max())

    assert missed[40] < 0.06
    assert missed[1] > 0.2


def test_held_to_nothing_the_loss_is_that_of_sac_and_else_that_of_mdpo():
    torch.manual_seed(0)
    log_prob, old, value = torch.randn(50), torch.randn(50), torch.randn(2, 50)
    least, bonus, weight = value.min(0).values, 0.2, 0.8  # c = 1, as in the paper
    torch.testing.assert_close(actor_loss(log_prob, value, [], [], bonus), (bonus * log_prob - least).mean())
    expected = (1.0 * log_prob + (bonus - 1.0) * old - least).mean()
    torch.testing.assert_close(actor_loss(log_prob, value, [old], [weight], bonus), expected)
    target = soft_target(
        torch.ones(2), torch.tensor([0.0, 1.0]), torch.tensor([[3.0, 9], [4, 8]]), old[:2], discount=0.5, bonus=bonus
    )
    torch.testing.assert_close(target, torch.stack([1 + 0.5 * (3 - bonus * old[0]), torch.tensor(1.0)]))


def test_two_critics_side_by_side_are_two_critics():
    torch.manual_seed(0)
    twins, rows, actions = TwinCritic(5, [8, 8]), torch.randn(7, 3), torch.randn(7, 2)
    for number in range(2):
        hidden = torch.cat([rows, actions], dim=1)
        for layer, (weight, bias) in enumerate(zip(twins.weights, twins.biases, strict=True)):
            hidden = nn.functional.linear(hidden, weight[number].T, bias[number, 0])
            hidden = hidden.relu() if layer < 2 else hidden
        torch.testing.assert_close(twins(rows, actions)[number], hidden[:, 0])


def test_the_oldest_moves_are_forgotten():
    empty = Transitions._make(torch.empty(0, *width) for width in ((1,), (1,), (), (1,), ()))
    replay = ReplayBuffer(5, empty)
    for first in (0.0, 3.0):
        each = first + torch.arange(3.0)
        replay.add(Transitions(each[:, None], each[:, None], each, each[:, None], each))
    assert len(replay) == 5
    assert sorted(replay.transitions.reward.tolist()) == [1, 2, 3, 4, 5]
    other = ReplayBuffer(5, empty)
    set_state(other, get_state(replay))
    assert torch.equal(other.take(torch.arange(5)).reward, replay.transitions.reward)


class Parabola:
    """One decision: an action a from -2 to 2 earns -(a - 1/2)^2."""

    players, actions, symmetric, observation_shape = 1, 1, True, (1,)
    spaces = Spaces((1,), ActionSpace(1, torch.tensor([-2.0]), torch.tensor([2.0])))

    def reset(self, seeds):
        return self.step(torch.zeros(len(seeds), 1, 1))

    def step(self, actions):
        zero, always = torch.zeros(len(actions), 1), torch.ones(len(actions), 1, 1, dtype=torch.bool)
        earned, done = -((actions[..., 0] - 0.5) ** 2), always[:, 0, 0]
        return Turn(zero[..., None], always, always[..., 0], earned, zero, done, ~done)


class Numbers(Parabola):
    """Copy b observes b; copies with odd numbers are truncated in every turn, at 100 + b."""

    def step(self, actions):
        shown = torch.arange(len(actions), dtype=torch.float32)[:, None, None]
        odd = shown[:, 0, 0] % 2 == 1
        final = torch.where(odd[:, None, None], 100 + shown, torch.nan)  # it has no meaning elsewhere
        return super().step(actions)._replace(observation=shown, done=odd, truncated=odd, final=final)


@pytest.mark.parametrize("indicator", [False, True])
def test_transitions_go_to_the_last_observation_of_each_truncated_game(indicator):
    """Observations are stored as networks read them: with the seat, if they are told it."""
    network = MLPSpec(hidden=(8,), squashed=True, seat_indicator=indicator)
    game, fields = Numbers(), {"num_envs": 4, "rollout_length": 2, "batch": 4, "warm_up": 0}
    responder = SAC(game, network, memory=4, **fields)
    assert responder.respond(network.profile(game)).metrics["loss/value"] >= 0
    seat = [1.0] * indicator
    assert responder.replay.transitions.observation.tolist() == [[0.0, *seat], [1.0, *seat], [2.0, *seat], [3.0, *seat]]
    assert responder.replay.transitions.after.tolist() == [[0.0, *seat], [101.0, *seat], [2.0, *seat], [103.0, *seat]]
    with pytest.raises(ValueError, match=r"responder\.memory must be at least 4, the decisions added at once, not 3"):
        SAC(game, network, memory=3, **fields)


class HalfLine(Parabola):
    """Its actions have no upper bound."""

    spaces = Spaces((1,), ActionSpace(1, torch.tensor([0.0]), torch.tensor([torch.inf])))


@pytest.mark.parametrize("magnet_weight", [0.0, 0.1])
def test_what_learns_off_policy_ends_where_the_formula_says(magnet_weight):
    """At pi ~ [exp(payoff) magnet^w]^(1 / (bonus + w)), which is nearly Gaussian away from the edges."""
    torch.manual_seed(0)
    game, network = Parabola(), MLPSpec(hidden=(32, 32), squashed=True)
    profile = network.profile(game)
    magnet = freeze(profile)
    with torch.no_grad():
        magnet[0].network.biases[-1].copy_(torch.tensor([-0.25, -1.0]))  # about -1/2, and a deviation of 0.7
    rates = {"start": 3e-3, "end": 3e-4, "over": 8_000}
    responder = SAC(
        game,
        network,
        num_envs=16,
        rollout_length=50,
        entropy_bonus=0.1,
        payoff_scale=1.0,
        batch=64,
        learning_rate=rates,
        updates=1,
    )
    while responder.work["steps"] < 2400:
        responder.respond(profile, objective=Objective(magnet=magnet, magnet_weight=magnet_weight))
    grid = torch.linspace(-1.99, 1.99, 400)[:, None]
    with torch.no_grad():
        own, near = (policy(torch.zeros(400, 1))[0].log_prob(grid) for policy in (profile[0], magnet[0]))
    expected = ((-((grid[:, 0] - 0.5) ** 2) + magnet_weight * near) / (0.1 + magnet_weight)).softmax(0)
    result = own.softmax(0)
    means = [(each * grid[:, 0]).sum() for each in (result, expected)]
    deviations = [
        ((grid[:, 0] - mean) ** 2 * each).sum().sqrt().item()
        for mean, each in zip(means, (result, expected), strict=True)
    ]
    assert means[0] == pytest.approx(means[1].item(), abs=0.06)
    assert deviations[0] == pytest.approx(deviations[1], rel=0.15)


def test_a_step_that_comes_to_nothing_and_policies_that_cannot_be_squashed_are_refused():
    with pytest.raises(ValueError, match="step_size must be above 0 all the time"):
        MDPO(step_size={"start": 1.0, "end": 0.0, "over": 100})
    with pytest.raises(ValueError, match=r"policy\.squashed must be true for SAC"):
        SAC(Parabola(), MLPSpec())
    with pytest.raises(
        ValueError, match=r"policy\.squashed needs finite bounds, and the actions of HalfLine have none"
    ):
        MLPSpec(squashed=True).profile(HalfLine())
    with pytest.raises(ValueError, match=r"Overcooked has no continuous actions: SAC needs bounds"):
        SAC(parts(game="overcooked").game, MLPSpec(squashed=True))


def test_on_tables_it_is_hedge():
    """Anchored to itself without a magnet, with exact payoffs: the same steps in both forms."""
    game = PreferenceMatrix("cycle", reference=[0.7, 0.1, 0.2])
    profiles = [TabularSpec().profile(game) for _ in range(2)]
    solvers = MDPO(step_size=0.5), MMD(step_size=0.5, magnet_weight=0.0)
    for profile, solver in zip(profiles, solvers, strict=True):
        *_, last = islice(solver.solve(profile, ExactResponder(game)), 20)
        assert last.work == {"queries": 1}
    assert torch.equal(profiles[0][0].strategy, profiles[1][0].strategy)
    assert not torch.equal(profiles[0][0].strategy, TabularSpec().profile(game)[0].strategy)


@pytest.mark.parametrize("normalise", [False, True])
def test_off_policy_goes_on_as_if_it_had_not_stopped(normalise):
    ends = []
    for stop in (False, True):
        torch.manual_seed(0)
        network = MLPSpec(hidden=(8,), squashed=True, normalise_observations=normalise)
        profile = network.profile(Control())
        fields = {"num_envs": 4, "rollout_length": 8, "batch": 8, "warm_up": 16, "memory": 40}
        responder = SAC(Control(), network, **fields)
        for iteration in range(4):
            if stop and iteration == 2:
                state, weights = deepcopy(get_state(responder)), deepcopy(profile[0].state_dict())
                profile, responder = network.profile(Control()), SAC(Control(), network, **fields)
                profile[0].load_state_dict(weights)
                responder.prepare(profile)
                set_state(responder, state)
            responder.respond(profile, objective=Objective(anchor=freeze(profile), step_size=0.5))
        ends.append(profile[0].state_dict())
    assert all(torch.equal(each, ends[1][name]) for name, each in ends[0].items())


def test_critics_and_policy_normalise_by_the_same_statistics():
    network = MLPSpec(hidden=(8,), squashed=True, normalise_observations=True)
    profile = network.profile(Control())
    responder = SAC(Control(), network, num_envs=4, rollout_length=8, batch=8, warm_up=16, memory=40)
    for _ in range(2):
        responder.respond(profile)
    rows, actions = responder.replay.transitions.observation[:5], torch.zeros(5, 1)
    scaled = profile[0].network.normaliser(rows)
    assert not torch.allclose(scaled, rows, atol=0.1)
    for critics in (responder.actor.critics, responder.actor.target):
        plain = TwinCritic(4, (8,))
        plain.load_state_dict({name: each for name, each in critics.state_dict().items() if "moments" not in name})
        assert torch.equal(critics(rows, actions), plain(scaled, actions))


def test_nash_conv_is_measured_like_that_of_other_solvers():
    game = PreferenceMatrix("cycle")
    progress = next(MDPO().solve(TabularSpec().profile(game), ExactResponder(game)))
    assert progress.metrics["nash_conv"] == progress.metrics["nash_conv/last"] > 0
