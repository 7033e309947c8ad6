"""Actions of several choices, and seats with unequal spaces."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from contracts import check_learning
from toys import Locks

from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.losses.gae import gae
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.factored import Factored
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.game_contract import check_game, random_actions
from marl_engine.rollout.rollout import play
from marl_engine.runners import LOCAL

BRANCHES = (3, 1, 2)


def distributions(seed, masked):
    """A factored distribution, and the one over all 6 combinations of its choices."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 6, generator=generator)
    legal = torch.rand(40, 6, generator=generator) < 0.6
    legal[:, [1, 3, 5]] = True
    factored = Factored(logits, BRANCHES, legal if masked else None)
    rows = logits.where(legal, -torch.inf) if masked else logits
    parts = [each.log_softmax(-1) for each in rows.split(BRANCHES, -1)]
    joint = torch.stack([sum(part[:, at] for part, at in zip(parts, each, strict=True)) for each in choices()], -1)
    return factored, joint


def choices():
    return list(product(*map(range, BRANCHES)))


@pytest.mark.parametrize("masked", [False, True])
def test_a_factored_distribution_is_that_over_all_combinations(masked):
    (pi, joint), (other, its) = distributions(0, masked), distributions(0, masked)
    likely = torch.stack([pi.log_prob(torch.tensor(each).expand(40, -1)) for each in choices()], -1)
    torch.testing.assert_close(likely, joint)
    torch.testing.assert_close(likely.exp().sum(-1), torch.ones(40))
    whole = Categorical(joint, joint.isfinite())
    torch.testing.assert_close(pi.entropy(), whole.entropy())
    assert torch.equal(pi.mode(), torch.tensor(choices())[whole.mode()])
    other.choices[0].logits.mul_(2)
    its = torch.stack([other.log_prob(torch.tensor(each).expand(40, -1)) for each in choices()], -1)
    torch.testing.assert_close(pi.kl(other), whole.kl(Categorical(its, joint.isfinite())))


def test_choices_are_sampled_independently():
    pi = Factored(torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]).repeat(40_000, 1), (3, 2))
    noise = torch.rand(40_000, 2, generator=torch.Generator().manual_seed(0))
    actions, likely = pi.sample(noise)
    torch.testing.assert_close(likely, pi.log_prob(actions))
    counts = torch.bincount(actions[:, 0] * 2 + actions[:, 1], minlength=6) / 40_000
    first, second = torch.tensor([0.0, 1.0, 0.0]).softmax(0), torch.tensor([2.0, 0.0]).softmax(0)
    torch.testing.assert_close(counts, torch.outer(first, second).flatten(), atol=0.01, rtol=0)


@pytest.mark.parametrize("alternating", [False, True])
def test_a_game_of_several_choices_satisfies_the_contract(alternating):
    game = Locks(alternating=alternating)
    assert len(list(check_game(game))) == 5
    turn = game.reset(derive_seeds(0, 500))
    actions = random_actions(game, turn, 0)
    assert actions.shape == (500, 2, 2)
    assert turn.legal.gather(-1, actions[..., :1]).all()
    assert actions[..., 1].float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("spec", [MLPSpec(hidden=[16]), RecurrentSpec(units=8, hidden=[8])])
@pytest.mark.parametrize("critic", ["own", "joint"])
def test_what_is_learned_from_choices_is_what_was_played(spec, critic):
    torch.manual_seed(0)
    game = Locks(alternating=True)
    responder = PPO(game, spec, num_envs=4, rollout_length=8, critic=critic)
    check_learning(SimpleNamespace(profile=spec.profile(game), responder=responder))


def test_both_choices_are_learned():
    """Random dials earn (1/2 + 1/2) of 2 points in a turn."""
    torch.manual_seed(0)
    spec, game = MLPSpec(hidden=[16]), Locks()
    sizes = {"num_envs": 32, "rollout_length": 16, "minibatches": 2, "learning_rate": 1e-2, "entropy_bonus": 0.0}
    profile, responder = spec.profile(game), PPO(game, spec, payoff_scale=1.0, **sizes)
    for _ in range(15):
        metrics = responder.respond(profile).metrics
    assert metrics["return/mean"] > 0.95 * 2 * game.patience


def test_seats_of_a_group_share_a_policy_and_a_critic():
    game = Locks(groups=(0, 1))
    shared, alone = MLPSpec(hidden=[8]).profile(game), MLPSpec(hidden=[8], shared=False).profile(Locks())
    assert len(set(shared)) == len(set(alone)) == 2
    assert len(set(MLPSpec(hidden=[8]).profile(Locks(groups=(0, 0))))) == 1
    responder = PPO(game, MLPSpec(hidden=[8]), num_envs=4, rollout_length=8)
    responder.respond(shared)
    assert set(responder.learners) == set(shared)
    with pytest.raises(ValueError, match=r"consist of several numbers cannot be members of a mixture"):
        mix_members([shared] * 2, [[0.5, 0.5]] * 2)


def test_unequal_seats_are_not_swapped():
    for groups in [(0, 0), (0, 1)]:
        game = Locks(groups=groups)
        evaluator = ReturnEvaluator(game, None, LOCAL, 4)
        report = evaluator.evaluate(MLPSpec(hidden=[8]).profile(game), full=True)
        assert ("return/swapped/mean" in report.metrics) == (groups == (0, 0))


def test_the_last_decision_of_a_seat_that_waits_at_a_time_limit_is_not_learned_from():
    """Seats move in turn for 3 turns: seat 0 at turns 0 and 2, after which it would wait; seat 1 would act."""
    game = Locks(alternating=True)
    seeds = derive_seeds(0, 5)
    trajectory, _, _ = play(game, MLPSpec(hidden=[8]).profile(game), game.reset(seeds), seeds, 0, 3)
    assert trajectory.truncated[2].all()
    assert trajectory.final_acting[2].tolist() == [[False, True]] * 5
    reward = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1).expand(3, 1, 2).contiguous()
    advantage, known = gae(
        reward,
        torch.full((3, 1, 2), 2.0),
        torch.tensor([[False], [False], [True]]),
        trajectory.acting[:, :1],
        after=torch.zeros(1, 2),
        ending=torch.full((3, 1, 2), 8.0),
        unknown=trajectory.truncated[:, :1, None] & ~trajectory.final_acting[:, :1],
        discount=0.5,
        gae_lambda=0.5,
    )
    assert known[:, 0].tolist() == [[True, False], [False, True], [False, False]]
    assert advantage[:, 0, 0].tolist() == [1 + 10 + 0.5 * 2 - 2, 0.0, 0.0]
    assert advantage[:, 0, 1].tolist() == [0.0, 10 + 100 + 0.5 * 8 - 2, 0.0]
