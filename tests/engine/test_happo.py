"""HAPPO: policies of a team that learn one after the other."""

from collections.abc import Mapping

import pytest
import torch
from settings import Setting, configuration
from toys import Matrix

from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.bayes_net import BayesNetSpec
from marl_engine.policies.mixtures.geometric import mix_geometrically
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.batches import SeatBatch
from marl_engine.responders.ppo import PPO
from marl_engine.responders.sequential import SequentialRatios
from marl_engine.rollout.likelihood import action_log_probs
from marl_engine.rollout.rollout import Trajectory, play
from marl_engine.runs.factory import build

PAYOFF = torch.tensor([[0.0, 2.0], [2.0, -1.0]])  # who alone plays action 1 earns 2 for both
START = torch.tensor([0.9, 0.1])
VALUE = START @ PAYOFF @ START


def start(sequential, seed, **fields):
    """Policies that play START, with critics that know its value, and a stretch of play in exact proportions."""
    torch.manual_seed(0)
    game, network = Matrix(PAYOFF), MLPSpec(hidden=(4,), shared=False)
    profile = network.profile(game)
    defaults = {"payoff_scale": 1.0, "normalise_advantage": False, "entropy_bonus": 0.0, "minibatches": 1}
    responder = PPO(game, network, seed=seed, sequential=sequential, **{**defaults, **fields})
    for policy in profile:
        responder._learner(policy)
        set_output(policy.network, START.log())
        set_output(responder.learners[policy].critic, VALUE[None])
    counts = torch.tensor([81, 9, 9, 1])
    action = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat_interleave(counts, dim=0)
    game.reset(torch.arange(100))
    before = game.restore(game.state())
    after = game.step(action)
    trajectory = Trajectory(
        before.observation[None], None, before.acting[None], action[None], START.log()[action][None],
        after.reward[None], after.shaping[None], after.done[None], after.truncated[None],
    )  # fmt: skip
    parts = {policy: [SeatBatch(trajectory, after, [seat])] for seat, policy in enumerate(profile)}
    responder._play = lambda *_: ([trajectory], parts, {})
    return profile, responder, parts


@torch.no_grad()
def set_output(network, numbers):
    weight, bias = network.output_layer()
    weight.zero_()
    bias.copy_(numbers)


def team_return(profile):
    rows = torch.ones(1, 1)
    one, two = (policy(rows)[0].log_probs.exp()[0].detach() for policy in profile)
    return (one @ PAYOFF @ two).item()


@pytest.mark.parametrize("seed", [0, 1])
def test_sequential_updates_improve_a_team_where_joint_updates_harm_it(seed):
    """Either seat should begin to play action 1, but not both; advantages are exact."""
    ends = {}
    for sequential in (False, True):
        profile, responder, parts = start(sequential, seed, clip=float("inf"), epochs=60, learning_rate=0.1)
        batch, _ = responder._batches(responder._learner(profile[0]), parts[profile[0]][0])
        torch.testing.assert_close(batch.advantage, PAYOFF[tuple(parts[profile[0]][0].trajectory.action[0].T)] - VALUE)
        responder.respond(profile)
        ends[sequential] = team_return(profile)
    assert ends[False] < -0.9 < VALUE
    assert ends[True] > 1.9


def test_advantages_are_multiplied_by_the_ratios_of_those_that_have_learned():
    profile, responder, parts = start(True, 0, epochs=2, learning_rate=0.05)
    (part,), (other,) = (parts[policy] for policy in profile)
    ratios = SequentialRatios(sequential=True)
    assert ratios.of(other) is None
    responder._learn(profile[0], [part], [], ratios)
    ratios.include(profile[0], [part])
    now = profile[0](torch.ones(1, 1))[0].log_probs.exp()[0]
    ratio = (now / START)[part.trajectory.action[0, :, 0]]
    assert (ratio - 1).abs().max() > 0.01
    torch.testing.assert_close(ratios.of(other)[0], ratio.detach(), atol=1e-6, rtol=1e-5)
    decisions, _ = responder._batches(responder._learner(profile[1]), other._replace(ratio=ratios.of(other)))
    plain, _ = responder._scale_advantage(decisions._replace(ratio=None))
    multiplied, _ = responder._scale_advantage(decisions)
    torch.testing.assert_close(multiplied.advantage, plain.advantage * ratio.detach(), atol=1e-6, rtol=1e-5)


def weights_after(game, policy, policy_keys, **fields):
    config = configuration(Setting(game, "self_play", policy, "ippo"))
    config = {**config, "responder": config["responder"] | fields, "policy": config["policy"] | policy_keys}
    components = build(config)
    for _ in range(2):
        components.responder.respond(components.profile)
    return {name: each for policy in components.profile for name, each in policy.state_dict().items()}


@pytest.mark.parametrize(
    ("game", "policy", "keys"),
    [("control", "network", {}), ("overcooked", "network", {"shared": True}), ("recall", "gru", {"shared": True})],
)
def test_a_single_policy_learns_as_by_ppo_bit_for_bit(game, policy, keys):
    one, two = (weights_after(game, policy, keys, sequential=each) for each in (False, True))
    assert isinstance(one, Mapping)
    assert all(torch.equal(each, two[name]) for name, each in one.items())


@pytest.mark.parametrize(("game", "policy"), [("overcooked", "network"), ("recall", "gru"), ("leduc_poker", "network")])
def test_sequences_and_turns_line_up(game, policy):
    """Before a policy has learned its ratio is 1, in whatever layout the decisions of the others are."""
    config = configuration(Setting(game, "self_play", policy, "ippo"))
    components = build({**config, "policy": config["policy"] | {"shared": False}})
    profile, responder = components.profile, components.responder
    _, parts, _ = responder._play(profile, None)
    ratios, part = SequentialRatios(sequential=True), parts[profile[1]][0]
    trajectory = part.trajectory
    unused = trajectory._replace(log_prob=trajectory.log_prob.masked_fill(~trajectory.acting, torch.nan))
    ratios.include(profile[0], [each._replace(trajectory=unused) for each in parts[profile[0]]])
    decided, _ = responder._batches(responder._learner(profile[1]), part._replace(ratio=ratios.of(part)))
    torch.testing.assert_close(decided.ratio, torch.ones_like(decided.advantage), atol=1e-5, rtol=1e-5)


def test_policies_without_probabilities_of_single_actions_are_refused():
    """Those of a mixture depend on what it did before, and those of a team on the other seats."""
    game, seeds = Matrix(PAYOFF), derive_seeds(0, 3)
    members = [MLPSpec(hidden=(4,)).profile(game) for _ in range(2)]
    mixture = mix_members([list(seat) for seat in zip(*members, strict=True)], [[0.5, 0.5]] * 2)
    team = BayesNetSpec([[0, 1]], hidden=[4]).profile(game)
    for profile, words in ((mixture, "those before"), (team, "those of other seats")):
        trajectory, *_ = play(game, profile, game.reset(seeds), seeds, 0, 2)
        with pytest.raises(ValueError, match=f"no probabilities of single actions: they depend on {words}"):
            action_log_probs(profile[0], trajectory, 0)
    with pytest.raises(ValueError, match="policies of a team have no geometric mixture"):
        mix_geometrically(team, team, 0.5)
