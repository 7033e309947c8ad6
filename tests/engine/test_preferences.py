"""Losses of compared answers: gradients and fixed points by enumeration, and the choice of pairs."""

from itertools import islice, pairwise, product

import numpy as np
import pytest
import torch

from games.normal_form.catalogue import PREFERENCES
from games.normal_form.games import PreferenceMatrix, RaterMatrix
from marl_engine.extensive_form.regularised import duality_gap
from marl_engine.losses.preference import LOSSES, PreferenceLossSettings, PreferencePairs
from marl_engine.policies.language.enumerable import EnumerableLM
from marl_engine.policies.language.generation import GeometricMixture
from marl_engine.policies.mixtures.geometric import freeze, mix_geometrically
from marl_engine.policies.tabular import TabularSpec, fill_tables, stack_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.preference.referee import Referee, best_and_worst, wins_among
from marl_engine.types import Objective, Opponents
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_ema import NashEMA
from solvers.mirror_descent.nash_md import NashMD
from solvers.mirror_descent.nash_prox import NashProx

START = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
CYCLE = torch.tensor(PREFERENCES["cycle"], dtype=torch.float64)
NONE = torch.zeros(1, 0, 2, dtype=torch.int64)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alone(log_prob, near, weights, wins, mask):
    """Returns one answer (L,) of the learner as a batch."""
    shape = (1, 1, -1)
    return PreferencePairs(
        *(each.view(shape) for each in (log_prob, log_prob.detach(), mask)),
        [each.view(shape) for each in near],
        weights,
        wins.view(1, 1),
        NONE,
        torch.zeros(1, 0),
    )


def pair(log_prob, near, weights, preferred, wins=(0.5, 0.5)):
    """Returns two answers of one token (2,) as a batch."""
    each = [other.view(1, 2, 1) for other in near]
    mask, wins = torch.ones(1, 2, 1, dtype=torch.bool), torch.tensor([wins], dtype=torch.float64)
    places, likes = torch.tensor([[[0, 1]]]), torch.tensor([[preferred]], dtype=torch.float64)
    return PreferencePairs(
        log_prob.view(1, 2, 1), log_prob.detach().view(1, 2, 1), mask, each, weights, wins, places, likes
    )


def expected(loss, logits, near, weights, share, preference, wins):
    """Returns the mean of a pairwise loss over pairs of answers of one token, weighted by shares (A, A)."""
    log_policy, total = logits.log_softmax(-1), torch.zeros((), dtype=torch.float64)
    for first, second in product(range(len(logits)), repeat=2):
        if share[first, second] > 0:
            both = torch.tensor([first, second])
            log_probs_near = [each[both] for each in near]
            batch = pair(
                log_policy[both], log_probs_near, weights, float(preference[first, second]), wins[both].tolist()
            )
            total = total + share[first, second] * LOSSES[loss](batch, PreferenceLossSettings())
    return total


def minimiser(loss, start):
    """Returns the policy (A,) that minimises a convex function of logits, by Newton's method."""
    logits = start.clone()
    for _ in range(30):
        slope = torch.autograd.functional.jacobian(loss, logits)
        curve = torch.autograd.functional.hessian(loss, logits)
        step = torch.linalg.pinv(curve, rcond=1e-9) @ slope
        logits = logits - step.clamp(-2, 2)
        if step.abs().max() < 1e-12:
            break
    return logits.softmax(-1)


def answers_of(ending, vocabulary=3):
    """Returns all answers (N, 2) of up to two tokens and their masks; with `ending`, token 1 ends an answer."""
    if not ending:
        answers = torch.tensor(list(product(range(vocabulary), repeat=2)))
        return answers, torch.ones_like(answers, dtype=torch.bool)
    return torch.tensor([[1, 0], [0, 0], [0, 1]]), torch.tensor([[1, 0], [1, 1], [1, 1]], dtype=torch.bool)


def own_ratio_only(batch, settings):
    """The loss of some libraries, in which each token is credited only with its own log-ratio."""
    log_prob = batch.log_prob.detach()
    log_probs_near = sum(weight * (log_prob - near) for weight, near in zip(batch.weights, batch.near, strict=True))
    return -((batch.wins[..., None] - 0.5 - log_probs_near) * batch.log_prob * batch.mask).sum(-1).mean()


@pytest.mark.parametrize("weights", [[0.3], [0.3, 0.7]], ids=["magnet", "magnet and anchor"])
@pytest.mark.parametrize("ending", [False, True])
def test_the_policy_gradient_is_that_of_the_regularised_game(ending, weights):
    """Its mean is the gradient of E P(y > opponent) - 1/2 - sum of w * KL(pi || near), unlike that of
    `own_ratio_only` (N4).
    """
    answers, mask = answers_of(ending)
    vocabulary = 2 if ending else 3
    model, *near = (
        EnumerableLM(random(seed, 1 + vocabulary, vocabulary), vocabulary, 2) for seed in range(1 + len(weights))
    )
    tokens = [each.log_probs(answers, answers) * mask for each in (model, *near)]
    log_probs_near, wins = [each.detach() for each in tokens[1:]], random(9, len(answers)).sigmoid()
    log_pi = tokens[0].sum(-1)
    kl = sum(
        weight * (log_pi.exp() * (log_pi - each.sum(-1))).sum()
        for weight, each in zip(weights, log_probs_near, strict=True)
    )
    (exact,) = torch.autograd.grad((log_pi.exp() * (wins - 0.5)).sum() - kl, model.logits, retain_graph=True)
    for loss, is_exact in ((LOSSES["reinforce"], True), (own_ratio_only, False)):
        total = 0
        for place, chance in enumerate(log_pi.exp().detach()):
            batch = alone(tokens[0][place], [each[place] for each in log_probs_near], weights, wins[place], mask[place])
            total = total - chance * loss(batch, PreferenceLossSettings())
        (gradient,) = torch.autograd.grad(total, model.logits, retain_graph=True)
        assert bool((gradient - exact).abs().max() < 1e-12) == is_exact
        torch.testing.assert_close(gradient[1:], exact[1:])  # of the last token both are right


@pytest.mark.parametrize(
    ("logits", "magnet_weight", "wins", "true", "trl"),
    [
        ([[0.3, 0.0], [0.0, 0.0], [0.3, 0.0]], 0.5, [0.625, 0.625, 0.375, 0.375], -0.025806, -0.024446),
        ([[0.2, 0.0], [0.0, 0.0], [2.0, 0.0]], 1.0, [0.5] * 4, -0.031636, 0.049503),
    ],
)
def test_the_first_token_answers_for_the_second(logits, magnet_weight, wins, true, trl):
    """With two tokens and a uniform reference, the derivative of the first logit agrees with finite differences.

    `trl` is the enumerated gradient of TRL 1.13's NashMDTrainer; in the second model it has the wrong sign.
    """

    def value(table):
        model, reference = EnumerableLM(table, 2, 2), EnumerableLM(torch.zeros_like(table), 2, 2)
        log_pi, log_near = (each.log_probs(answers, answers).sum(-1) for each in (model, reference))
        return (log_pi.exp() * (torch.tensor(wins) - 0.5 - magnet_weight * (log_pi - log_near))).sum().item()

    answers, mask = answers_of(ending=False, vocabulary=2)
    table, small = torch.tensor(logits, dtype=torch.float64), 1e-6
    nudge = torch.zeros_like(table)
    nudge[0, 0] = small
    assert (value(table - nudge) - value(table + nudge)) / (2 * small) == pytest.approx(true, abs=2e-6)
    model = EnumerableLM(table, 2, 2)
    log_prob, near = model.log_probs(answers, answers), torch.full((4, 2), 0.5, dtype=torch.float64).log()
    for loss, expected in ((LOSSES["reinforce"], true), (own_ratio_only, trl)):
        chances = log_prob.detach().sum(-1).exp()
        total = sum(
            chance
            * loss(
                alone(log_prob[place], [near[place]], [magnet_weight], torch.tensor(wins[place]), mask[place]),
                PreferenceLossSettings(),
            )
            for place, chance in enumerate(chances)
        )
        (slope,) = torch.autograd.grad(total, model.logits, retain_graph=True)
        assert float(slope[0, 0]) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("baseline", ["half", "leave_one_out"])
def test_baselines_do_not_change_the_expected_gradient(baseline):
    """For two independent answers and an opponent that does not depend on them."""
    model, near, wins = random(0, 3).requires_grad_(), random(1, 3), random(2, 3).sigmoid()
    log_pi, log_near = model.log_softmax(-1), near.log_softmax(-1)
    value = (log_pi.exp() * (wins - 0.5 - 0.4 * (log_pi - log_near))).sum()
    (exact,) = torch.autograd.grad(value, model, retain_graph=True)
    total = 0
    for first, second in product(range(3), repeat=2):
        both = torch.tensor([first, second])
        batch = pair(log_pi[both], [log_near[both]], [0.4], 0.5, wins[both].tolist())
        total = total - (log_pi[first] + log_pi[second]).exp().detach() * LOSSES["reinforce"](
            batch, PreferenceLossSettings(baseline=baseline)
        )
    (gradient,) = torch.autograd.grad(total, model)
    torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize("baseline", ["half", "leave_one_out"])
def test_answers_compared_with_each_other_climb_as_self_play_does(baseline):
    """For two independent answers, each the opponent of the other."""
    model, near = random(0, 3).requires_grad_(), random(1, 3).log_softmax(-1)
    log_pi = model.log_softmax(-1)
    value = (log_pi.exp() * (CYCLE @ log_pi.exp().detach() - 0.4 * (log_pi - near))).sum()
    (exact,) = torch.autograd.grad(value, model, retain_graph=True)
    total = 0
    for first, second in product(range(3), repeat=2):
        both, likes = torch.tensor([first, second]), float(CYCLE[first, second])
        batch = pair(log_pi[both], [near[both]], [0.4], 0.5, (likes, 1 - likes))
        loss = LOSSES["reinforce"](batch, PreferenceLossSettings(baseline=baseline))
        total = total - (log_pi[first] + log_pi[second]).exp().detach() * loss
    (gradient,) = torch.autograd.grad(total, model)
    torch.testing.assert_close(gradient, exact)


def test_a_surrogate_is_clipped_where_another_policy_wrote():
    """At ratio 1.5 the gain of a good answer is clipped at 1.2, the loss of a bad one is not."""
    for wins, slope in ((0.9, 0.0), (0.1, 0.4 * 1.5)):
        log_prob = torch.tensor([-1.0], requires_grad=True)
        batch = alone(log_prob, [], [], torch.tensor(wins), torch.ones(1, dtype=torch.bool))
        old = batch.old - np.log(1.5)
        LOSSES["reinforce"](batch._replace(old=old), PreferenceLossSettings(clip=0.2)).backward()
        assert log_prob.grad.item() == pytest.approx(slope)


def test_squared_is_inpos_loss():
    """(h - 1 / (2 eta))^2 with h(y, y') of Zhang et al. 2024, times eta^2; with certain labels and the winner first."""
    eta, tau = 1.3, 0.4
    learner, magnet, anchor = (random(seed, 2) for seed in range(3))
    step_size = 1 / (eta - tau)
    result = LOSSES["squared"](pair(learner, [magnet, anchor], [tau, 1 / step_size], 1.0), PreferenceLossSettings())
    lead = [each[0] - each[1] for each in (learner, magnet, anchor)]
    h = lead[0] - tau / eta * lead[1] - (eta - tau) / eta * lead[2]
    assert float(result) == pytest.approx(float(eta**2 * (h - 1 / (2 * eta)) ** 2))
    ipo = LOSSES["squared"](pair(learner, [magnet], [tau], 1.0), PreferenceLossSettings())  # eta = tau
    assert float(ipo) == pytest.approx(float(tau**2 * (lead[0] - lead[1] - 1 / (2 * tau)) ** 2))


def test_a_label_in_doubt_is_the_mean_of_two_certain_ones():
    """Up to a constant: the gradient for p equals the expected gradient for a sampled label."""
    for loss in ("squared", "logistic", "simple"):
        slopes = []
        for shares in ({0.7: 1.0}, {1.0: 0.7, 0.0: 0.3}):
            log_prob = random(0, 2).requires_grad_()
            batches = {p: pair(log_prob, [random(1, 2)], [0.3], p) for p in shares}
            sum(share * LOSSES[loss](batches[p], PreferenceLossSettings()) for p, share in shares.items()).backward()
            slopes.append(log_prob.grad)
        torch.testing.assert_close(*slopes)


def after(solver, game, iterations):
    """Returns the first seat's strategies (T + 1, A)."""
    profile, results = TabularSpec().profile(game), []
    results.append(profile[0].strategy.clone())
    for _ in islice(solver.solve(profile, ExactResponder(game)), iterations):
        results.append(profile[0].strategy.clone())
    return torch.stack(results)


def cycle():
    return PreferenceMatrix("cycle", reference=START.tolist())


def test_the_squared_loss_of_product_pairs_has_the_mirror_step_for_its_minimum():
    """A5: pairs y, y' of independent answers suffice for the step against the whole policy."""
    policy, next_policy = after(MMD(0.8, 0.3), cycle(), 3)[2:]
    near, weights = [START.log(), policy.log()], [0.3, 1 / 0.8]

    def loss(logits):
        return expected("squared", logits, near, weights, policy[:, None] * policy, CYCLE, torch.full((3,), 0.5))

    torch.testing.assert_close(minimiser(loss, torch.zeros(3, dtype=torch.float64)), next_policy, rtol=0, atol=1e-10)
    assert float((next_policy - policy).abs().max()) > 0.01


def test_the_contrastive_loss_has_the_multiplicative_step_for_its_minimum():
    """pi_t exp(r / eta) / Z, for any pairs (D1), which is also the mirror step on tables."""
    wins = CYCLE @ START
    for seed in range(2):
        share = random(seed, 3, 3).exp()
        result = minimiser(
            lambda logits, share=share: expected("contrastive", logits, [START.log()], [0.5], share, CYCLE, wins),
            START.log(),
        )
        torch.testing.assert_close(result, (START.log() + wins / 0.5).softmax(-1), rtol=0, atol=1e-10)
    torch.testing.assert_close(result, after(MMD(2.0, 0.0), cycle(), 1)[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("tau", "dpo", "nash"), [(1.0, 0.70, 0.5498), (0.1, 0.9998, 0.8808)])
def test_online_dpo_does_not_rest_at_the_equilibrium_and_online_ipo_does(tau, dpo, nash):
    """A10: two answers with P = 0.7; fixed points of the expected gradient for pairs of the policy's own answers."""
    preference, uniform = torch.tensor([[0.5, 0.7], [0.3, 0.5]], dtype=torch.float64), torch.full((2,), 0.5).double()

    def fixed_point(loss):
        low, high = -12.0, 12.0
        for _ in range(60):
            middle = (low + high) / 2
            lead = torch.tensor([middle, 0.0], dtype=torch.float64, requires_grad=True)
            sample_weights = lead.detach().softmax(-1)
            share = sample_weights[:, None] * sample_weights
            expected(loss, lead, [uniform.log()], [tau], share, preference, uniform).backward()
            low, high = (middle, high) if lead.grad[0] < 0 else (low, middle)
        return float(torch.tensor(middle).sigmoid())

    assert fixed_point("logistic") == pytest.approx(dpo, abs=5e-5)
    assert fixed_point("squared") == pytest.approx(nash, abs=5e-5)
    game = RaterMatrix(scores=[[np.log(7 / 3), 0.0]], temperature=1.0)
    assert float(after(MirrorProx(2.0, tau), game, 400)[-1, 0]) == pytest.approx(nash, abs=5e-5)


def root(slope, start):
    """Returns the policy (A,) at which a gradient (A,) vanishes, by Newton's method from `start`."""

    def natural(logits):
        return slope(logits) / logits.softmax(-1)

    logits, nudges = start.clone(), 1e-5 * torch.eye(len(start), dtype=torch.float64)
    for _ in range(30):
        turns = [(natural(logits + nudge) - natural(logits - nudge)) / 2e-5 for nudge in nudges]
        step = torch.linalg.pinv(torch.stack(turns, dim=1), rtol=1e-7) @ natural(logits)
        logits = logits - step.clamp(-1, 1)
        if step.abs().max() < 1e-10:
            break
    assert float(slope(logits).abs().max()) < 1e-12
    return logits.softmax(-1)


def online(loss, preference, reference, tau):
    """Returns the fixed points of the expected gradient for pairs of the policy's own answers, from two starts."""

    def slope(logits):
        logits = logits.clone().requires_grad_()
        sample_weights = logits.detach().softmax(-1)
        share = sample_weights[:, None] * sample_weights
        return torch.autograd.grad(
            expected(loss, logits, [reference.log()], [tau], share, preference, sample_weights), logits
        )[0]

    results = [root(slope, start.log()) for start in (reference, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))]
    torch.testing.assert_close(*results, rtol=0, atol=1e-9)
    return results[0]


def test_online_dpo_rests_off_the_equilibrium_of_the_cycle_and_on_that_of_an_even_circle():
    """Gaps .030 and 0 of online DPO and online IPO at tau = .1; without a magnet .05 for DPO.

    INPO has the fixed point of online IPO. For symmetric rock-paper-scissors both losses have the same fixed point.
    """
    dpo, ipo = (online(loss, CYCLE, START, 0.1) for loss in ("logistic", "squared"))
    assert regularised_gap(cycle(), dpo.numpy(), 0.1) == pytest.approx(0.0303, abs=5e-5)
    assert regularised_gap(cycle(), ipo.numpy(), 0.1) == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(after(MMD(1.0, 0.1), cycle(), 2000)[-1], ipo, rtol=0, atol=1e-9)
    assert [2 * float((CYCLE @ each).max()) - 1 for each in (dpo, ipo)] == pytest.approx([0.0496, 0.1569], abs=5e-5)
    even, uniform = torch.tensor(PREFERENCES["rock_paper_scissors"], dtype=torch.float64), torch.full((3,), 1 / 3)
    for loss in ("logistic", "squared"):
        torch.testing.assert_close(online(loss, even, uniform.double(), 0.1), uniform.double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_offline_ipo_answers_whoever_wrote_its_pairs(tau):
    """The minimum is mu exp(P(. > nu) / tau) / Z for pairs sampled by nu; mu is the reference."""
    author = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    result = minimiser(
        lambda logits: expected("squared", logits, [START.log()], [tau], author[:, None] * author, CYCLE, author),
        torch.zeros(3, dtype=torch.float64),
    )
    torch.testing.assert_close(result, (START.log() + CYCLE @ author / tau).softmax(-1), rtol=0, atol=1e-10)
    assert float((result - (START.log() + CYCLE @ START / tau).softmax(-1)).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("weight", "distance"), [(0.0, 0.0), (0.125, 0.0032), (0.5, 0.0874), (0.9, 0.345), (1.0, 0.365)]
)
def test_where_the_policy_gradient_against_a_mixture_vanishes(weight, distance):
    """N3, A7: of `reinforce` on a softmax, enumerated; there the mixture is the equilibrium at tau / (1 -
    weight).
    """
    tau, answers = 0.1, torch.arange(3)[:, None]
    reference = EnumerableLM(START.log()[None], 3, 1)

    def mixture(logits):
        tokens = (
            GeometricMixture(EnumerableLM(logits[None], 3, 1), reference, weight).start_decoding(answers[:1]).logits
        )
        return tokens[0].softmax(-1)

    def slope(logits):
        model = EnumerableLM(logits[None].clone(), 3, 1)
        log_prob, wins, total = model.log_probs(answers, answers), CYCLE @ mixture(logits), 0
        for place, chance in enumerate(log_prob[:, 0].detach().exp()):
            one = alone(log_prob[place], [START.log()[place]], [tau], wins[place], torch.ones(1, dtype=torch.bool))
            total = total + chance * LOSSES["reinforce"](one, PreferenceLossSettings())
        return torch.autograd.grad(total, model.logits)[0][0]

    result = root(slope, START.log())
    assert regularised_gap(cycle(), result.numpy(), tau) == pytest.approx(distance, abs=5e-4)
    if weight < 1:
        target = after(MirrorProx(2.0, tau / (1 - weight)), cycle(), 500)[-1]
        torch.testing.assert_close(mixture(result.log()), target, rtol=0, atol=1e-8)


def test_online_ipo_climbs_as_self_play_does():
    """The mean gradient of `squared` over pairs of own answers is -4 W times that of the regularised game."""
    logits, tau, preference = random(0, 3).requires_grad_(), 0.3, CYCLE
    sample_weights = logits.detach().softmax(-1)
    expected(
        "squared", logits, [START.log()], [tau], sample_weights[:, None] * sample_weights, preference, sample_weights
    ).backward()
    log_pi = logits.log_softmax(-1)
    value = (log_pi.exp() * (preference @ sample_weights - tau * (log_pi - START.log()))).sum()
    (exact,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(logits.grad, -4 * tau * exact)


@pytest.mark.parametrize(("step_size", "magnet_weight"), [(0.1, 0.1), (1.25, 0.1), (5.0, 0.1), (10.0, 0.1)])
def test_nash_md_with_two_kl_terms_equals_nash_md_anchored_to_the_mixture(step_size, magnet_weight):
    """pi' = argmax eta <P, pi> - KL(pi || mixture), Munos et al. 2023, section 6, compared with the
    implementation.
    """
    game = cycle()
    profile, responder, weight = TabularSpec().profile(game), ExactResponder(game), step_size * magnet_weight
    reference, result = freeze(profile), after(NashMD(step_size, magnet_weight), game, 25)
    for iteration in range(1, 26):
        mixture = mix_geometrically(profile, reference, weight)
        responder.respond(profile, Opponents([mixture]), Objective(anchor=mixture, step_size=step_size))
        torch.testing.assert_close(result[iteration], profile[0].strategy, rtol=0, atol=1e-10)


def test_nash_ema_answers_an_average_of_its_past():
    """On tables, against the mixture of past strategies with weights that decay by `keep`."""
    game = cycle()
    result, average = after(NashEMA(2.0, 0.1, keep=0.9), game, 20), START
    for before, successor in pairwise(result):
        logit = (CYCLE @ average + 0.1 * START.log() + before.log() / 2.0) / (0.1 + 1 / 2.0)
        torch.testing.assert_close(successor, logit.softmax(-1), rtol=0, atol=1e-10)
        average = 0.9 * average + 0.1 * successor


def test_nash_prox_is_anchored_to_a_target_that_follows():
    """With an immediate target it is magnetic mirror descent; otherwise the target moves a tenth of the way every
    second iteration.
    """
    torch.testing.assert_close(after(NashProx(2.0, 0.1, 1, 0.0), cycle(), 20), after(MMD(2.0, 0.1), cycle(), 20))
    result, target = after(NashProx(2.0, 0.1, 2, 0.9), cycle(), 20), START
    for iteration, (before, successor) in enumerate(pairwise(result), 1):
        logit = (CYCLE @ before + 0.1 * START.log() + target.log() / 2.0) / (0.1 + 1 / 2.0)
        torch.testing.assert_close(successor, logit.softmax(-1), rtol=0, atol=1e-10)
        target = 0.9 * target + 0.1 * successor if iteration % 2 == 0 else target


def group(**changes):
    """Two answers of up to three tokens, on small numbers."""
    mask = torch.tensor([[[1, 1, 0], [1, 1, 1]]], dtype=torch.bool)
    log_prob = torch.tensor([[[-1.0, -2.0, 0.0], [-0.5, -0.25, -1.5]]])
    near = torch.tensor([[[-1.5, -1.0, 0.0], [-1.0, -1.0, -1.0]]])
    places, likes = torch.tensor([[[0, 1]]]), torch.tensor([[0.8]])
    return PreferencePairs(log_prob, log_prob, mask, [near], [0.5], torch.tensor([[0.9, 0.2]]), places, likes)._replace(
        **changes
    )


def test_losses_on_numbers_worked_out_by_hand():
    """Sums of log-probabilities: -3 and -2.25; near: -2.5 and -3; W h: -0.25 and 0.375; means: -1.5 and -0.75."""
    batch = group()
    settings = PreferenceLossSettings(margin=0.5, scale=2.0, optimism=0.1)
    sigma = torch.tensor(-0.625).sigmoid().item()
    logistic = -0.8 * np.log(sigma) - 0.2 * np.log(1 - sigma)
    soft = 1 / (1 + np.exp(-0.7))
    lead = 2 * (-0.75)
    simple = 0.8 * np.log1p(np.exp(-(lead - 0.5))) + 0.2 * np.log1p(np.exp(-(-lead - 0.5)))
    results = {
        "squared": (-0.625 - 0.3) ** 2,
        "logistic": logistic,
        "contrastive": -soft * np.log(sigma) - (1 - soft) * np.log(1 - sigma),
        "pointwise": ((-0.25 - 0.4) ** 2 + (0.375 + 0.3) ** 2) / 2,
        "simple": simple,
        "exploring": logistic - 0.1 * 2.25,
    }
    for name, number in results.items():
        assert float(LOSSES[name](batch, settings)) == pytest.approx(number, abs=1e-6), name
    assert set(results) | {"reinforce"} == set(LOSSES)


def test_baselines_on_numbers_worked_out_by_hand():
    """Log-ratios of tokens to near, by half: (0.25, -0.5) and (0.25, 0.375, -0.25), so the sums are -0.25 and
    0.375.
    """
    ahead = torch.tensor([[[-0.25, -0.5, 0.0], [0.375, 0.125, -0.25]]])
    first = {
        "half": (0.4, -0.3),
        "leave_one_out": (0.9 - (0.2 - 0.375), 0.2 - (0.9 + 0.25)),
        "standardised": (1.0, -1.0),
    }
    for baseline, advantage in first.items():
        batch = group(within=False)
        batch = batch._replace(log_prob=batch.log_prob.clone().requires_grad_())
        LOSSES["reinforce"](batch, PreferenceLossSettings(baseline=baseline)).backward()
        slope = -(torch.tensor([advantage])[..., None] - ahead) * batch.mask / 2
        torch.testing.assert_close(batch.log_prob.grad, slope, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", ["squared", "logistic", "contrastive", "simple", "exploring"])
def test_a_pair_that_was_dropped_teaches_nothing(loss):
    full_group, dropped = group(), group(pairs=torch.tensor([[[0, 1], [-1, -1]]]), preferred=torch.tensor([[0.8, 0.4]]))
    settings = PreferenceLossSettings(optimism=0.1)
    assert torch.equal(LOSSES[loss](full_group, settings), LOSSES[loss](dropped, settings))
    nothing = group(log_prob=full_group.log_prob.clone().requires_grad_(), pairs=torch.tensor([[[-1, -1]]]))
    LOSSES[loss](nothing, settings).backward()
    assert not nothing.log_prob.grad.any()


class Judge:
    """Prefers by a rule, and counts comparisons."""

    def __init__(self, rule):
        self.rule, self.comparisons = rule, 0

    def prefers(self, numbers, firsts, seconds):
        self.comparisons += len(numbers)
        return [self.rule(first, second) for first, second in zip(firsts, seconds, strict=True)]


def referee(rule):
    return Referee(Judge(rule), False, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "comparisons"), [(2, 2), (4, 5), (8, 11)])
def test_a_tournament_finds_the_best_and_the_worst(size, comparisons):
    """For transitive preferences, with 11 comparisons of 8 answers (Zhang et al. 2024, appendix B)."""
    random_order = np.random.default_rng(0)
    groups = [random_order.permutation(size).tolist() for _ in range(50)]
    judge = referee(lambda first, second: float(first > second))
    pairs, preferred = judge.run_tournament(torch.zeros(50, dtype=torch.int64), groups)
    assert [each[one] for each, one in zip(groups, pairs[:, 0, 0].tolist(), strict=True)] == [size - 1] * 50
    assert [each[one] for each, one in zip(groups, pairs[:, 0, 1].tolist(), strict=True)] == [0] * 50
    assert preferred.tolist() == [[1.0]] * 50
    assert judge.queries == judge.game.comparisons == 50 * comparisons


def test_the_first_advances_from_a_tie_and_no_winner_is_no_pair():
    numbers = torch.zeros(1, dtype=torch.int64)
    met = []
    tie = referee(lambda first, second: met.append((first, second)) or 0.5)
    assert tie.run_tournament(numbers, [list("abcdefgh")])[0].tolist() == [[[-1, -1]]]
    assert met[-1] == ("a", "h")
    wins = {("a", "b"), ("c", "d"), ("a", "c"), ("b", "d"), ("d", "a")}  # the worst beats the best
    upset = referee(lambda first, second: float((first, second) in wins))
    assert upset.run_tournament(numbers, [list("abcd")])[0].tolist() == [[[-1, -1]]]
    assert upset.queries == 5


def regularised_gap(game, policy, tau):
    """Returns the gap of a strategy (A,) played in both seats."""
    profile = TabularSpec().profile(game)
    reference = stack_tables(profile)
    fill_tables(profile, np.concatenate([[1.0, 1.0], policy, policy]))
    return duality_gap(game.form, stack_tables(profile), reference, tau)


def gaps_of_inpo(pairs_of, labels=CYCLE, eta=0.6, tau=0.1, iterations=300):
    """Returns the regularised gaps of iterates whose steps are exact means over the sampled pairs.

    `pairs_of` returns for a policy (A,) how often each pair is used, (A, A); `labels` how often its first answer wins.
    """
    game, policy, results = cycle(), START, []
    for _ in range(iterations):
        share = pairs_of(policy)
        share = share + share.T
        weight = torch.diag(share.sum(1)) - share  # normal equations of share * (eta * (h - h') - (P - 1/2))^2
        h = torch.linalg.pinv(eta * weight, rcond=1e-12) @ (share * (labels - 0.5)).sum(1)
        policy = (tau / eta * START.log() + (1 - tau / eta) * policy.log() + h).softmax(-1)
        results.append(regularised_gap(game, policy, tau))
    return results


def by_tournament(judge, groups):
    return judge.run_tournament(torch.zeros(len(groups), dtype=torch.int64), groups.tolist())[0]


def by_wins(judge, groups):
    return best_and_worst(wins_among(judge.compare_all(torch.zeros(len(groups), dtype=torch.int64), groups.tolist())))


@pytest.mark.parametrize(
    ("size", "choose", "rests"), [(8, by_tournament, False), (8, by_wins, False), (2, by_tournament, True)]
)
def test_the_best_and_the_worst_of_many_do_not_lead_to_the_equilibrium(size, choose, rests):
    """A12, on the cycle: INPO's guarantee needs independent pairs, and fails for the best and worst of eight."""
    groups = torch.cartesian_prod(*[torch.arange(3)] * size)  # all that can be drawn
    pairs = choose(referee(lambda first, second: float(CYCLE[first, second])), groups)
    is_valid = pairs[:, 0, 0] >= 0
    one, other = (groups[is_valid].gather(1, pairs[is_valid, 0, place, None])[:, 0] for place in (0, 1))

    def selection(policy):
        share = torch.zeros(9, dtype=torch.float64).index_add(0, 3 * one + other, policy[groups[is_valid]].prod(-1))
        return (share / share.sum()).view(3, 3)

    assert gaps_of_inpo(lambda policy: policy[:, None] * policy)[-1] < 1e-6
    late = gaps_of_inpo(selection)[-100:]
    assert max(late) < 1e-6 if rests else min(late) > 0.05, (min(late), max(late))


def test_a_tournament_of_two_sharpens_what_a_judge_in_doubt_says():
    """A12: a pair is kept if the same answer wins twice, with p^2 and (1 - p)^2, which leaves a gap of .003."""
    chance, count = 0.7, 20_000
    judge = Referee(
        Judge(lambda first, second: chance if (first, second) == ("a", "b") else 1 - chance),
        True,
        torch.Generator().manual_seed(0),
    )
    pairs, likes = judge.run_tournament(torch.zeros(count, dtype=torch.int64), [["a", "b"]] * count)
    winners = pairs[:, 0, 0]
    shares = [float((winners == first).float().mean()) for first in (0, 1)]
    assert shares == pytest.approx([chance**2, (1 - chance) ** 2], abs=4 * 0.5 / count**0.5)
    assert likes[winners >= 0].eq(1).all()
    square_sum = CYCLE**2 + (1 - CYCLE) ** 2
    result = gaps_of_inpo(lambda policy: square_sum * policy[:, None] * policy, labels=CYCLE**2 / square_sum)
    assert result[-1] == pytest.approx(0.0033, abs=1e-4)
