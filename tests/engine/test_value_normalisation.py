"""Running statistics of values and observations."""

import pytest
import torch
from contracts import check_going_on, check_learning, known_outcomes
from settings import Setting, configuration
from toys import Matrix, Walk

from marl_engine.losses.ppo import VALUE_LOSSES
from marl_engine.networks.normalisation import LEAST_VALUE_STD, LIMIT, NormalisedCritic, RunningMoments
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mixtures.geometric import extrapolate, freeze, interpolate_weights
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.responders.ppo import PPO
from marl_engine.runs.factory import build

SHORT = {"overcooked": {"horizon": 5}, "control": {"horizon": 5}, "recall": {"delay": 2}}  # end within stretches


def config_of(game, policy="network", *, policy_keys=None, responder_keys=None):
    """The configuration of a small run of PPO with other keys."""
    config = configuration(Setting(game, "self_play", policy, "ippo"))
    return {
        **config,
        "game": config["game"] | SHORT.get(game, {}),
        "policy": config["policy"] | (policy_keys or {}),
        "responder": config["responder"] | (responder_keys or {}),
    }


def test_moments_are_those_of_all_rows_together():
    torch.manual_seed(0)
    moments, batches = RunningMoments((3,), decay=1.0, least=0.0), [3 + 2 * torch.randn(n, 3) for n in (5, 1, 40)]
    for batch in batches:
        moments.update(batch)
    rows = torch.cat(batches).double()
    torch.testing.assert_close(moments.mean, rows.mean(0))
    torch.testing.assert_close(moments.variance, rows.var(0, unbiased=False))


def test_moments_that_forget_are_debiased_moving_averages():
    """MAPPO's: averages of x and of x^2, divided by 1 - decay^k after k batches of equal size."""
    torch.manual_seed(0)
    decay, moments = 0.9, RunningMoments((), decay=0.9, least=0.0)
    first = second = 0.0
    for count in range(1, 6):
        batch = count + count * torch.randn(100).double()
        first, second = (
            decay * old + (1 - decay) * new for old, new in ((first, batch.mean()), (second, (batch**2).mean()))
        )
        mean, square = first / (1 - decay**count), second / (1 - decay**count)
        moments.update(batch)
        torch.testing.assert_close(moments.mean, mean)
        torch.testing.assert_close(moments.variance, square - mean**2)


SPECS = {"mlp": MLPSpec((8, 8)), "gru": RecurrentSpec(units=8, hidden=(8,)), "cnn": CNNSpec((4,), hidden=(8,))}


@pytest.mark.parametrize("kind", SPECS)
def test_popart_moves_statistics_but_no_value(kind):
    torch.manual_seed(0)
    game = build(config_of("overcooked")).game
    network = SPECS[kind].critic(game, joint=True).double()
    critic = NormalisedCritic(network, preserve=True, decay=0.9)
    rows = critic.encode(torch.rand(20, 2, *game.observation_shape), torch.zeros(20).long())
    memory = (critic.initial_memory(20),) if kind == "gru" else ()

    def values():
        with torch.no_grad():
            return critic(rows, *memory)[0] if memory else critic(rows)

    before, output = values(), network.output_layer()[0].clone()
    for scale in (1e3, 1e-1, 5.0):
        critic.renormalise(scale * (7 + torch.randn(50).double()), before)
        torch.testing.assert_close(values(), before, atol=1e-6, rtol=0)
    assert not torch.equal(network.output_layer()[0], output)
    assert critic.moments.std > LEAST_VALUE_STD


def test_running_statistics_move_values_along_and_those_computed_before_with_them():
    torch.manual_seed(0)
    critic = NormalisedCritic(
        MLPSpec((8,), shared=False).critic(Matrix(torch.eye(2)), joint=False), preserve=False, decay=0.9
    )
    rows = torch.rand(20, 1)
    before, raw = critic(rows).detach(), critic.network(rows).detach()
    after = critic.renormalise(3 + 2 * torch.randn(50), before)
    torch.testing.assert_close(after, critic(rows).detach())
    torch.testing.assert_close(after, raw * critic.moments.std + critic.moments.mean)


@pytest.mark.parametrize("loss", VALUE_LOSSES)
def test_the_loss_is_that_of_normalised_values(loss):
    components = build(config_of("overcooked", responder_keys={"value_normalisation": "popart", "value_loss": loss}))
    profile, responder = components.profile, components.responder
    responder.respond(profile)
    _, parts, _ = responder._play(profile, None)
    learner = responder._learner(profile[0])
    batch = learner.renormalise(responder._batches(learner, parts[profile[0]][0])[1])
    batch = batch._replace(value=batch.value + 3 * torch.randn(batch.value.shape))
    mean, std = learner.normalised.moments.mean, learner.normalised.moments.std
    value, target, old = ((each - mean) / std for each in (batch.values(learner.critic), batch.target, batch.value))
    expected = VALUE_LOSSES[loss](value, target, old, responder.value_width).mean()
    torch.testing.assert_close(responder._update().critic_loss(learner.critic, learner.value_unit, batch)[0], expected)


def learned_value(scale, normalisation):
    """The value of a game whose every turn earns 1, in units of `scale`, after some iterations."""
    torch.manual_seed(0)
    game, network = Matrix(torch.ones(2, 2), patience=4), MLPSpec(hidden=(8,), shared=False)
    profile = network.profile(game)
    fields = {"num_envs": 4, "rollout_length": 8, "minibatches": 1, "discount": 0.75, "learning_rate": 0.02}
    responder = PPO(game, network, payoff_scale=scale, value_normalisation=normalisation, value_decay=0.9, **fields)
    for _ in range(40):
        responder.respond(profile)
    return responder._learner(profile[0]).critic(torch.ones(1, 1)).item() / scale


@pytest.mark.parametrize("normalisation", ["running", "popart"])
def test_normalised_critics_learn_values_of_any_size(normalisation):
    """The value is 1 / (1 - discount)."""
    assert learned_value(1000.0, normalisation) == pytest.approx(4.0, abs=0.1)


def test_other_critics_do_not():
    assert learned_value(1000.0, "none") < 1


def test_statistics_are_saved():
    keys = {"policy_keys": {"normalise_observations": True}, "responder_keys": {"value_normalisation": "popart"}}
    for policy in ("network", "gru"):
        check_going_on(lambda each=policy: build(config_of("overcooked", each, **keys)))


@pytest.mark.parametrize(
    ("game", "policy"), [("control", "network"), ("overcooked", "network"), ("recall", "gru"), ("leduc_poker", "gru")]
)
def test_what_is_learned_from_is_what_was_played_when_observations_are_normalised(game, policy):
    components = build(config_of(game, policy, policy_keys={"normalise_observations": True}))
    for _ in range(3):
        components.responder.respond(components.profile)
    check_learning(components)


@pytest.mark.parametrize("game", ["control", "kuhn_poker"])
def test_statistics_are_those_of_what_was_learned_from(game):
    """In Kuhn poker policies are shown numbers of information sets, whose features are normalised."""
    components = build(config_of(game, policy_keys={"normalise_observations": True, "shared": True}))
    profile, rows = components.profile, []
    network = profile[0].network
    for _ in range(3):
        (trajectory,) = components.responder.respond(profile).batch
        known = known_outcomes(trajectory, components.responder.lineups.streams[0].turn)
        encoded = network.encode(trajectory.observation[known], known.nonzero()[:, 2])
        rows.append(network._features(encoded[:, 0]) if game == "kuhn_poker" else encoded)
    features = torch.cat(rows)[:, : len(network.normaliser.moments.mean)].double()
    torch.testing.assert_close(network.normaliser.moments.mean, features.mean(0))
    torch.testing.assert_close(network.normaliser.moments.variance, features.var(0, unbiased=False))
    scaled = network.normaliser(torch.cat(rows))
    assert scaled.abs().max() <= LIMIT
    torch.testing.assert_close(scaled[:, len(features.T) :], torch.cat(rows)[:, len(features.T) :])  # seats are not


def test_a_frozen_copy_keeps_its_statistics_and_a_saved_player_has_them():
    config = config_of("control", policy_keys={"normalise_observations": True})
    components = build(config)
    profile, responder = components.profile, components.responder
    responder.respond(profile)
    (copy,) = freeze(profile)
    observation = components.game.reset(torch.arange(6)).observation[:, 0]

    def means(policy):
        return policy(policy.encode(observation, torch.zeros(6).long()))[0].mean.detach()

    before = means(copy)
    responder.respond(profile)
    torch.testing.assert_close(means(copy), before, atol=0, rtol=0)
    learned, kept = (each.network.normaliser.moments for each in (profile[0], copy))
    assert not torch.equal(learned.mean, kept.mean)
    fresh = build(config).profile
    load_profile_state(fresh, profile_state(profile))
    torch.testing.assert_close(means(fresh[0]), means(profile[0]), atol=0, rtol=0)


def test_averages_of_networks_normalise_observations_as_the_newest_does():
    """Statistics are neither averaged nor extrapolated, which could make variances negative."""
    spec, profiles = MLPSpec(hidden=(4,), normalise_observations=True), []
    for spread in (5.0, 3.0, 1.0):
        profiles.append(spec.profile(Walk()))
        profiles[-1][0].observe(spread * torch.tensor([[-1.0, 1.0], [1.0, 1.0]])[:, :1] + spread)
    start, end, profile = profiles
    mean, bias = (
        (lambda each: each[0].network.normaliser.moments.mean.item()),
        (lambda each: each[0].network.biases[-1]),
    )
    for number, each in enumerate(profiles):
        bias(each).data.fill_(number)
    rows = torch.linspace(-6, 12, 7)[:, None].expand(7, start[0].network.normaliser.moments.mean.numel())
    scaled = [each[0].network.normaliser(rows) for each in profiles]
    extrapolate(profile, start, end, 0.5)
    assert (mean(profile), bias(profile).tolist()) == (3.0, [1.5, 1.5])
    assert torch.equal(profile[0].network.normaliser(rows), scaled[1])
    interpolate_weights(profile, start, 0.5)
    assert (mean(profile), bias(profile).tolist()) == (5.0, [0.75, 0.75])
    assert torch.equal(profile[0].network.normaliser(rows), scaled[0])
    torch.testing.assert_close(profile[0].state_dict()["network.normaliser.moments.variance"].item(), 25.0)
