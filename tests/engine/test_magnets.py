"""Policies that a learner with a memory is held near: each remembers its own games."""

from copy import deepcopy

import pytest
import torch

from games.recall import Recall
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mixtures.geometric import freeze, mix_geometrically
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.responders.ppo import PPO
from marl_engine.runs.checkpoint import read, write
from marl_engine.types import Objective

GAME = Recall(delay=5)  # games of six turns
SPEC = RecurrentSpec(units=8, hidden=(8,))


def learner(turns=4, network=SPEC):
    """Of ten games; stretches of four turns end in the midst of them."""
    return PPO(GAME, network, num_envs=10, rollout_length=turns, minibatches=2, learning_rate=0.05)


def drawn(spec=SPEC, seed=0):
    """A profile whose choices depend on what it remembers."""
    torch.manual_seed(seed)
    profile = spec.profile(GAME)
    for weights in profile[0].parameters():
        weights.data.mul_(2).add_(0.3 * torch.randn_like(weights))
    return profile


def stretch(responder, profile, *others):
    """A batch of the next stretch of play."""
    _, parts, _ = responder._play(profile, None)
    return responder._batches(responder._learner(profile[0]), parts[profile[0]][0], others)[0]


def log_probs(batch, other):
    """How likely another policy is to choose what was chosen (T, N)."""
    with torch.no_grad():
        return batch.distribution_of(other, 0).log_prob(batch.action[batch.sequences.acting]).view(batch.action.shape)


@pytest.mark.parametrize("units", [8, 6])
def test_a_magnet_uses_its_own_memory(units):
    """In three stretches of four turns it chooses as in one of twelve, through games that end in their midst."""
    profile, magnet = drawn(), freeze(drawn(RecurrentSpec(units=units, hidden=(8,)), 1))[0]
    whole, pieces = learner(12), learner(4)
    once = log_probs(stretch(whole, profile, magnet), magnet)
    parts = torch.cat([log_probs(stretch(pieces, profile, magnet), magnet) for _ in range(3)])
    torch.testing.assert_close(parts, once, atol=1e-5, rtol=0)
    stranger = learner(4)
    for _ in range(2):
        stretch(stranger, profile)
    late = log_probs(stretch(stranger, profile, magnet), magnet)  # it was not there before
    assert (late - once[8:]).abs().max() > 0.01


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_a_mixture_remembers_as_its_parts_do(weight):
    """Of a fresh copy of the learner and a reference: the learner's memory, and the reference's own."""
    profile, reference, responder = drawn(), freeze(drawn(seed=1)), learner()
    for _ in range(3):
        mixture = mix_geometrically(freeze(profile), reference, weight)[0]
        batch = stretch(responder, profile, mixture, reference[0])
        with torch.no_grad():
            mixed, own = batch.distribution_of(mixture, 0), batch.distribution(profile[0])
            other = batch.distribution_of(reference[0], 1)
        expected = torch.lerp(own.logits, other.logits, weight).log_softmax(-1)
        torch.testing.assert_close(mixed.logits.log_softmax(-1), expected)
    for _ in range(2):
        objective = Objective(mix_geometrically(freeze(profile), reference, weight), 1.0)
        assert responder.respond(profile, objective=objective).metrics["kl/last"] >= 0


def test_an_anchor_that_is_a_copy_of_the_learner_is_the_learner():
    """Whenever it is made: before the first step of an optimiser the two are not apart."""
    profile, responder = drawn(), learner()
    for _ in range(4):
        (anchor,) = freeze([profile[0]])
        batch = stretch(responder, profile, anchor)
        with torch.no_grad():
            assert batch.distribution(profile[0]).kl(batch.distribution_of(anchor, 0)).abs().max() == 0
        responder.respond(profile, objective=Objective(freeze(profile), 1.0, freeze(drawn(seed=2)), 0.1))


def test_what_a_magnet_remembers_is_in_checkpoints(tmp_path):
    profile, (magnet,) = drawn(), freeze(drawn(seed=1)[:1])
    one, two = learner(), learner()
    stretch(one, profile, magnet)
    two.prepare(profile)
    set_state(two, read(write(tmp_path, 0, get_state(one))))
    first, second = (
        log_probs(stretch(each, profile, held), held) for each, held in ((one, magnet), (two, deepcopy(magnet)))
    )
    assert torch.equal(first, second)


def test_a_memoryless_magnet_is_evaluated_decision_by_decision():
    """A perceptron, which reads the same observations; the other way round there are no sequences to unroll."""
    profile, perceptron = drawn(), freeze(drawn(MLPSpec(hidden=(8,)), 1))[0]
    responder = learner()
    stretch(responder, profile, perceptron)
    batch = stretch(responder, profile, perceptron)
    direct = perceptron(batch.rows.flatten(0, 1))[0].log_prob(batch.action.flatten())
    assert torch.equal(log_probs(batch, perceptron).flatten(), direct)
    objective = Objective(magnet=freeze(profile), magnet_weight=0.1)
    with pytest.raises(ValueError, match="NetworkPolicy cannot be held near RecurrentPolicy, which remembers"):
        learner(network=MLPSpec(hidden=(8,))).respond(drawn(MLPSpec(hidden=(8,))), objective=objective)
