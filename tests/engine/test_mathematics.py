"""Advantages, losses, distributions, noise and schedules, on numbers that can be checked by hand."""

import math

import pytest
import torch

from marl_engine.losses.gae import gae
from marl_engine.losses.ppo import (
    KLPenalty,
    clipped_surrogate,
    clipped_value_error,
    fused_surrogate,
    huber_error,
    squared_error,
    surrogate,
)
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.gaussian import Gaussian
from marl_engine.numerics.jit import compile_inline, list_dependencies
from marl_engine.numerics.rng import derive_seeds, draw_uniforms, mix_bits
from marl_engine.numerics.schedules import parse_schedule


def advantages(
    reward, value, done, *, after=0.0, acts=True, ending=None, acting=None, alive=None, discount=0.5, gae_lambda=0.5
):
    """Returns advantages of one seat in one game, None where a decision is not learned from."""
    column = torch.tensor(reward).view(-1, 1, 1)
    result = gae(
        column,
        torch.tensor(value).view(-1, 1, 1),
        torch.tensor(done).view(-1, 1),
        torch.ones_like(column, dtype=torch.bool) if acting is None else torch.tensor(acting).view(-1, 1, 1),
        after=torch.full((1, 1), after),
        acts_after=torch.full((1, 1), acts),
        ending=None if ending is None else torch.tensor(ending).view(-1, 1, 1),
        alive=None if alive is None else torch.tensor(alive).view(-1, 1, 1),
        discount=discount,
        gae_lambda=gae_lambda,
    )
    assert (result.advantage[~result.known] == 0).all()
    columns = (each[:, 0, 0].tolist() for each in result)
    return [number if known else None for number, known in zip(*columns, strict=True)]


def test_advantages_by_hand():
    # delta_1 = 2 + .5 * 8 - 4 = 2, delta_0 = 1 + .5 * 4 - 2 = 1, A_0 = 1 + .25 * 2
    assert advantages([1.0, 2.0], [2.0, 4.0], [False, False], after=8.0) == [1.5, 2.0]


def test_termination_does_not_bootstrap_and_truncation_does():
    over = advantages([1.0, 2.0], [2.0, 4.0], [True, False], after=8.0)
    assert over == [1.0 - 2.0, 2.0]
    stopped = advantages([1.0, 2.0], [2.0, 4.0], [True, False], after=8.0, ending=[6.0, 0.0])
    assert stopped == [1.0 + 0.5 * 6.0 - 2.0, 2.0]


def test_gae_is_the_td_error_at_lambda_0_and_the_return_at_lambda_1():
    reward, value = [1.0, 2.0, 3.0], [0.3, 0.2, 0.1]
    td = advantages(reward, value, [False] * 3, after=4.0, discount=0.9, gae_lambda=0.0)
    assert td == pytest.approx([1 + 0.9 * 0.2 - 0.3, 2 + 0.9 * 0.1 - 0.2, 3 + 0.9 * 4 - 0.1])
    full = advantages(reward, value, [False] * 3, after=4.0, discount=0.9, gae_lambda=1.0)
    assert full[0] == pytest.approx(1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 4 - 0.3)


def test_a_decision_earns_everything_until_the_seats_next_one():
    """Turn 1 belongs to the other seat: its reward counts for the decision of turn 0."""
    result = advantages([1.0, 10.0, 2.0], [3.0, 99.0, 5.0], [False] * 3, after=8.0, acting=[True, False, True])
    assert result == [1 + 10 + 0.5 * 5 - 3 + 0.25 * (2 + 0.5 * 8 - 5), None, 2 + 0.5 * 8 - 5]


def test_decisions_with_unknown_outcome_are_not_learned_from():
    """The seat acts at turns 0 and 2 and waits after that; its critic has no value for what it sees then."""
    turns = {"acting": [True, False, True, False], "after": 8.0, "acts": False}
    reward, value, on = [1.0, 10.0, 2.0, 7.0], [3.0, 99.0, 5.0, 99.0], [False] * 4
    assert advantages(reward, value, on, **turns) == [1 + 10 + 0.5 * 5 - 3, None, None, None]
    over = [False, False, False, True]  # now it is known
    assert advantages(reward, value, over, **turns) == [1 + 10 + 0.5 * 5 - 3 + 0.25 * (9 - 5), None, 9 - 5, None]


def test_departed_seats_earn_and_bootstrap_nothing():
    """It leaves at turn 0. At turn 1 the others earn 100 and play on, or are truncated, or open the next game."""
    left, seats = {"acting": [True, False], "alive": [True, False]}, [1.0, 100.0]
    assert advantages(seats, [2.0, 9.0], [False, False], after=8.0, **left) == [1 - 2, None]
    assert advantages(seats, [2.0, 9.0], [False, True], ending=[0.0, 8.0], **left) == [1 - 2, None]
    back = {"acting": [True, False, True], "alive": [True, False, True]}
    assert advantages([*seats, 3.0], [2.0, 9.0, 4.0], [False, True, False], after=8.0, **back) == [
        1 - 2,
        None,
        3 + 4 - 4,
    ]
    waits = advantages(seats, [2.0, 9.0], [False, False], after=8.0, acting=[True, False], alive=[True, True])
    assert waits == [1 + 100 + 0.5 * 8 - 2, None]  # who only waits is paid, and goes on


def test_clipped_surrogate_by_hand():
    new, old = torch.tensor([1.5, 0.5, 1.5, 0.5]).log(), torch.zeros(4)
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    # a good action is worth at most 1.2 times, a bad one at least 0.8 times its probability
    assert clipped_surrogate(new, old, advantage, 0.2).tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_compiled_surrogate_is_the_formula(masked, penalised):
    """Loss, gradient and metrics agree with torch's on rows inside, above and below the clipping range."""
    torch.manual_seed(0)
    logits = torch.randn(500, 6, requires_grad=True)
    legal = torch.rand(500, 6) < 0.7
    legal[:, 2] = True
    pi = Categorical(logits, legal if masked else None)
    action = pi.mode()
    old, advantage = pi.log_prob(action).detach() + 0.4 * torch.randn(500), torch.randn(500)
    other = Categorical(torch.randn(500, 6), pi.legal)
    kl_penalty = KLPenalty(0.7, 0.7 * other.log_probs) if penalised else None
    results = []
    for way in (surrogate, fused_surrogate):
        logits.grad = None
        pi = Categorical(logits, legal if masked else None)
        result = way(pi, action, old, advantage, clip=0.2, bonus=0.3, kl_penalty=kl_penalty)
        result.loss.backward()
        results.append((*result, logits.grad.clone()))
    for formula, fast in zip(*results, strict=True):
        torch.testing.assert_close(formula, fast, atol=1e-6, rtol=1e-4)
    terms = 0.7 * pi.kl(other).mean() if penalised else torch.zeros(())
    plain = surrogate(pi, action, old, advantage, clip=0.2, bonus=0.3).loss
    torch.testing.assert_close(results[1][0] - plain, terms, atol=1e-6, rtol=1e-4)


def test_the_compiled_surrogate_of_gaussians_is_the_formula():
    """Loss, gradients and metrics agree with torch's, where all rows have the same deviation, too."""
    torch.manual_seed(0)
    mean, log_std = torch.randn(500, 3, requires_grad=True), (0.5 * torch.randn(3)).requires_grad_()
    action, advantage = mean.detach() + torch.randn(500, 3), torch.randn(500)
    old = Gaussian(mean, log_std).log_prob(action).detach() + 0.4 * torch.randn(500)
    results = []
    for way in (surrogate, fused_surrogate):
        mean.grad = log_std.grad = None
        result = way(Gaussian(mean, log_std), action, old, advantage, clip=0.2, bonus=0.3)
        result.loss.backward()
        results.append((*result, mean.grad.clone(), log_std.grad.clone()))
    for formula, fast in zip(*results, strict=True):
        torch.testing.assert_close(formula, fast, atol=1e-6, rtol=1e-4)


def test_value_losses_by_hand():
    value, target, old = torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([5.0])
    assert squared_error(value, target, old, 1.0).item() == 4.5
    assert huber_error(value, target, old, 1.0).item() == 2.5
    assert clipped_value_error(value, target, old, 1.0).item() == 8.0  # 5 - 1 is as near as it may come: 4^2 / 2


def test_noise_is_a_function_of_seed_and_place():
    # SplitMix64 started at 0: its first number is 0xE220A8397B1DCDAF (Vigna's reference, first output)
    golden = torch.tensor(-0x61C8864680B583EB)
    assert mix_bits(golden).item() & (2**64 - 1) == 0xE220A8397B1DCDAF
    seeds = derive_seeds(3, 5)
    full = draw_uniforms(seeds, 0, 6, 2)
    assert torch.equal(full[4:], draw_uniforms(seeds, 4, 2, 2))
    assert torch.equal(full[:, 1:3], draw_uniforms(seeds[1:3], 0, 6, 2))


def test_noise_is_uniform():
    many = draw_uniforms(derive_seeds(0, 1000), 0, 100, 2).flatten()
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / len(many)) ** 0.5)
    counts = torch.histc(many, 20, 0, 1)
    chi_squared = ((counts - len(many) / 20) ** 2 / (len(many) / 20)).sum().item()
    assert chi_squared < 43.8  # 19 degrees of freedom, one in a thousand


def test_sampling_follows_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]]).repeat(100_000, 1)
    legal = torch.tensor([[True, True, True, False]]).repeat(100_000, 1)
    noise = (torch.arange(100_000) + 0.5) / 100_000
    shares = torch.bincount(Categorical(logits, legal).sample(noise)[0], minlength=4) / 100_000
    expected = Categorical(logits[:1], legal[:1]).log_probs.exp()[0]
    torch.testing.assert_close(shares, expected, atol=2e-5, rtol=0)


def test_kl_and_entropy_by_hand():
    half, skew = Categorical(torch.zeros(1, 2)), Categorical(torch.tensor([[0.75, 0.25]]).log())
    assert half.entropy().item() == pytest.approx(math.log(2))
    assert half.kl(skew).item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))


def test_schedules():
    falling = parse_schedule({"start": 1.0, "end": 0.5, "over": 100}, "rate")
    assert [falling.at(steps) for steps in (0, 50, 100, 1000)] == [1.0, 0.75, 0.5, 0.5]
    assert parse_schedule(3, "rate").at(10**9) == 3.0
    for wrong in (
        {"start": 1.0},
        "high",
        -1.0,
        {"start": 1.0, "end": -1.0, "over": 5},
        {"start": 1.0, "end": 0.0, "over": 0},
    ):
        with pytest.raises(ValueError, match=r"rate(\.end|\.over)? must be"):
            parse_schedule(wrong, "rate")


def with_globals(code, **names):
    exec(code, names)
    return names["function"]


def test_machine_code_is_cached_by_the_constants_it_contains():
    """Also those of functions that are inlined, which may be in other modules."""
    shifted = [with_globals("def function(number): return number >> BITS", BITS=bits) for bits in (23, 24)]
    callers = [
        with_globals("def function(number): return shift(number)", shift=compile_inline(each)) for each in shifted
    ]
    for one, other in (shifted, callers):
        assert list_dependencies(one) == list_dependencies(one)
        assert list_dependencies(one) != list_dependencies(other)
