"""HAPPO: policies of a team that learn one after the other."""

from collections.abc import Mapping

import pytest
import torch
from settings import Setting, configuration
from toys import Matrix

from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.batches import SeatBatch
from marl_engine.responders.ppo import PPO
from marl_engine.responders.sequential import SequentialRatios
from marl_engine.rollout.rollout import Trajectory
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
    decisions, _ = responder._batches(responder._learner(profile[1]), other)
    ratios = SequentialRatios(sequential=True)
    assert ratios.multiply(decisions, profile[1], [other]) is decisions
    responder._learn(profile[0], [part], [], ratios)
    ratios.include(profile[0], [part])
    now = profile[0](torch.ones(1, 1))[0].log_probs.exp()[0]
    ratio = (now / START)[part.trajectory.action[0, :, 0]]
    assert (ratio - 1).abs().max() > 0.01
    multiplied = ratios.multiply(decisions, profile[1], [other])
    torch.testing.assert_close(multiplied.advantage, decisions.advantage * ratio.detach(), atol=1e-6, rtol=1e-5)


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
    decided, _ = responder._batches(responder._learner(profile[1]), parts[profile[1]][0])
    ratios = SequentialRatios(sequential=True)
    ratios.include(profile[0], parts[profile[0]])
    multiplied = ratios.multiply(decided, profile[1], parts[profile[1]])
    torch.testing.assert_close(multiplied.advantage, decided.advantage, atol=1e-5, rtol=1e-5)
