"""DNO: the guarantee of its steps, the fixed points of its regressions, its choice of pairs, and its teacher."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from games.normal_form.catalogue import PREFERENCES
from games.normal_form.games import PreferenceFile, PreferenceMatrix
from marl_engine.losses.preference import LOSSES, PreferenceLossSettings, PreferencePairs, contrastive, logistic
from marl_engine.policies.language.enumerable import EnumerableLMSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.policies.weights import profile_state
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.preference.referee import Referee, best_and_worst, margin_pairs, wins_among
from marl_engine.responders.preference.responder import PreferenceResponder
from marl_engine.runs.folder import RunFolder
from solvers.mirror_descent.mmd import MMD
from solvers.preference.dno import DNO

START = (0.6, 0.3, 0.1)


def divergence(one, other):
    return float((one * np.log(one / other)).sum())


@pytest.mark.parametrize("name", PREFERENCES)
@pytest.mark.parametrize("step_size", [0.1, 1.0, 5.0])
def test_every_step_is_preferred_to_what_it_comes_from(name, step_size):
    """P(next > now) = 1/2 + eta (KL(next || now) + KL(now || next)) >= 1/2 + eta KL(next || now); eta = 1 / step."""
    profile = TabularSpec().profile(game := PreferenceMatrix(name, reference=START))
    steps = islice(MMD(step_size, magnet_weight=0.0).solve(profile, ExactResponder(game)), 30)
    results = [np.array(START), *(profile[0].strategy.numpy().copy() for _ in steps)]
    for now, following in pairwise(results):
        if min(following.min(), now.min()) < 1e-9:  # further on, digits end before the step does
            break
        gained, distance = following @ np.array(PREFERENCES[name]) @ now - 0.5, divergence(following, now)
        assert gained == pytest.approx((distance + divergence(now, following)) / step_size, abs=1e-12)
        assert gained >= distance / step_size


def loss_of(log_policy, near, weight, wins, pairs, preferred):
    """Returns a loss for all answers (A,) of one token as one group."""
    each = log_policy.view(1, -1, 1)
    return PreferencePairs(
        each, each.detach(), torch.ones_like(each).bool(), [near.view(1, -1, 1)], [weight], wins, pairs, preferred
    )


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 2)])
def test_the_regression_ends_where_the_exact_step_does(weights):
    """DNO's loss has no gradient at pi * exp(r / eta) / Z, for any frequencies of pairs."""
    preference, now, eta = torch.tensor(PREFERENCES["cycle"], dtype=torch.float64), torch.tensor(START).double(), 0.4
    wins = (preference @ now)[None]
    pairs = torch.tensor([(0, 1)] * weights[0] + [(0, 2)] * weights[1] + [(1, 2)] * weights[2])[None]
    for target, is_minimum in ((now.log() + wins[0] / eta, True), (now.log(), False)):
        logits = target.clone().requires_grad_()
        batch = loss_of(logits.log_softmax(-1), now.log(), eta, wins, pairs, torch.empty(0))
        (slope,) = torch.autograd.grad(contrastive(batch, PreferenceLossSettings()), logits)
        assert (float(slope.abs().max()) < 1e-12) == is_minimum


def test_labels_that_are_certain_have_no_answer():
    """The log-odds of DPO converge to log(p / (1 - p)) / beta for p < 1; for p = 1 they grow without bound."""
    now, beta, pairs = torch.tensor([0.5, 0.5]).double().log(), 0.5, torch.tensor([[[0, 1]]])

    def lead(likes, steps):
        logits = now.clone().requires_grad_()
        for _ in range(steps):
            batch = loss_of(
                logits.log_softmax(-1), now, beta, torch.empty(0), pairs, torch.tensor([[likes]], dtype=torch.float64)
            )
            (slope,) = torch.autograd.grad(logistic(batch, PreferenceLossSettings()), logits)
            logits = (logits - 4 * slope).detach().requires_grad_()
        return float(logits.detach() @ torch.tensor([1.0, -1.0]).double())

    assert lead(0.9, 200) == pytest.approx(lead(0.9, 400), abs=1e-9) == pytest.approx(np.log(9) / beta, abs=1e-9)
    ends = [lead(1.0, steps) for steps in (25, 100, 400, 1600)]
    assert all(later - sooner > 1.3 for sooner, later in pairwise(ends))  # log(4) / beta and a little less, each time


def test_more_steps_on_certain_labels_make_it_worse():
    """Mean NashConv of DNO-Prct in rock-paper-scissors, where labels are certain, with 1 and with 32 inner steps."""
    results = {}
    for epochs in (1, 32):
        profile = EnumerableLMSpec(vocabulary=3, length=1).profile(
            game := PreferenceMatrix("rock_paper_scissors", reference=START)
        )
        settings = {"loss": "logistic", "pairs": "margin", "answers": 5, "prompts": 64, "learning_rate": 0.05}
        steps = islice(DNO(step_size=10.0).solve(profile, PreferenceResponder(game, epochs=epochs, **settings)), 25)
        results[epochs] = np.mean([step.metrics["nash_conv"] for step in steps])
    assert results[32] > results[1] + 0.2


def test_pairs_that_are_far_apart():
    """The best answer with those that win less often by the margin, but not with itself or close ones."""
    wins = torch.tensor([[0.5, 0.9, 0.65, 0.1], [0.2, 0.2, 0.2, 0.2], [0.0, 0.4, 1.0, 0.7]])
    none = [-1, -1]
    assert margin_pairs(wins, 0.3).tolist() == [
        [[1, 0], none, none, [1, 3]],
        [none] * 4,
        [[2, 0], [2, 1], none, [2, 3]],
    ]
    assert margin_pairs(wins, 0.45).tolist()[0] == [none, none, none, [1, 3]]
    assert best_and_worst(wins).tolist() == [[[1, 3]], [[0, 0]], [[2, 0]]]


def test_pairs_that_are_dropped_teach_nothing():
    """The loss is the mean over remaining pairs, and 0 without any."""
    near, policy = torch.zeros(3), torch.tensor([0.3, 0.0, -0.2])
    retained, dropped = torch.tensor([[[0, 2]]]), torch.tensor([[[-1, -1]]])
    likes = torch.tensor([[0.8, 0.8]])
    alone = logistic(loss_of(policy, near, 1.0, torch.empty(0), retained, likes[:, :1]), PreferenceLossSettings())
    both = logistic(
        loss_of(policy, near, 1.0, torch.empty(0), torch.cat([retained, dropped], 1), likes), PreferenceLossSettings()
    )
    nothing = logistic(loss_of(policy, near, 1.0, torch.empty(0), dropped, likes[:, :1]), PreferenceLossSettings())
    assert both == alone == pytest.approx(np.log1p(np.exp(-0.5)) + 0.2 * 0.5)
    assert nothing == 0


def test_wins_in_a_group():
    """The mean over the other answers in rock-paper-scissors with a second rock: paper beats both rocks."""
    referee = Referee(PreferenceMatrix("rock_paper_scissors"), sample_labels=False, generator=torch.Generator())
    table = referee.compare_all(torch.tensor([0]), [[0, 1, 2, 0]])
    assert referee.queries == 6
    assert (table + table.mT == 1).all()
    wins, preference = wins_among(table)[0], np.array(PREFERENCES["rock_paper_scissors"])
    others = [[0, 1, 2, 0][:each] + [0, 1, 2, 0][each + 1 :] for each in range(4)]
    assert wins.tolist() == pytest.approx(
        [preference[one, rest].mean() for one, rest in zip([0, 1, 2, 0], others, strict=True)]
    )


def always_the_teacher(batch, settings):
    """SPIN (Chen et al. 2024): the teacher's answer is always preferred to the learner's."""
    return logistic(batch._replace(preferred=torch.zeros_like(batch.preferred)), settings)


def chances(writer):
    with torch.no_grad():
        return writer.log_probs(writer.answer_tokens, writer.answer_tokens).sum(-1).double().exp().numpy()


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


@pytest.mark.parametrize("seed", [0, 2, 7])
def test_a_judge_leads_beyond_the_teacher(seed, tmp_path, monkeypatch):
    """27 answers with skill and weak cycles; after 6 iterations DNO beats the teacher, imitation does not."""
    random, kind = np.random.default_rng(seed), np.arange(27) % 3
    skill, circle = random.standard_normal(27), np.array([0, 1, -1])[(kind[:, None] - kind) % 3]
    preference, teacher = 1 / (1 + np.exp(skill - skill[:, None] - circle / 2)), softmax(1.5 * skill)
    np.save(tmp_path / "judge.npy", preference)

    def game(reference):
        return PreferenceFile(payoffs=str(tmp_path / "judge.npy"), reference=reference.tolist())

    state = {"profile": profile_state(EnumerableLMSpec().profile(game(teacher)))}
    RunFolder(tmp_path / "teacher").save(1, state, best=None)

    def won(pairs):
        """Returns win rates against the teacher, at first and at last."""
        start = EnumerableLMSpec().profile(student := game(softmax(0.4 * skill)))
        settings = {"loss": "logistic", "pairs": pairs, "answers": 5, "prompts": 600, "minibatches": 10}
        steps = DNO(str(tmp_path / "teacher"), step_size=10.0).solve(
            start, PreferenceResponder(student, seed=seed, learning_rate=0.05, **settings)
        )
        before = chances(start[0]) @ preference @ teacher
        for _ in islice(steps, 6):
            pass
        return before, chances(start[0]) @ preference @ teacher

    before, dno = won("margin")
    monkeypatch.setitem(LOSSES, "logistic", always_the_teacher)
    _, spin = won("across")
    assert 0.34 < before < 0.4
    assert dno > 0.6
    assert dno - spin > 0.1
