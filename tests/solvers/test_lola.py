"""The iterated prisoner's dilemma has the right values, and LOLA cooperates where naive learners defect."""

import sys
from itertools import product

import numpy as np
import pytest
import torch

from games.normal_form.repeated import RepeatedGame
from marl_engine.commands import train
from marl_engine.configuration import declared_types
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.softmax_table import SoftmaxTablePolicy, SoftmaxTableSpec
from marl_engine.responders.gradient_ascent import GradientAscent, own_gradients
from marl_engine.rollout.rollout import score
from marl_engine.runs import checkpoint
from marl_engine.runs.requirements import check_parts
from solvers.opponent_shaping.lola import LOLA, lola_gradients
from solvers.self_play import SelfPlay

SEEDS, STEPS, STEP = 8, 200, 25.0
# the chance to cooperate at first, and after CC, CD, DC, DD, own action first
COOPERATE, DEFECT, TIT_FOR_TAT = (1, 1, 1, 1, 1), (0, 0, 0, 0, 0), (1, 1, 0, 1, 0)
MIXED, OTHER = (0.9, 0.7, 0.2, 0.5, 0.1), (0.4, 0.8, 0.6, 0.3, 0.25)


def strategy(chances):
    """Returns (S, A) from the probabilities of the first action."""
    first = torch.tensor(chances, dtype=torch.float64)
    return torch.stack([first, 1 - first], dim=-1)


def simulate(game, pair, rounds=2000):
    """Returns the discounted mean payoff, round by round, from the distribution of action pairs."""
    gamma, worth = game.discount, np.zeros(2)
    payoffs = game.earns.numpy().reshape(2, 2, 2)  # times 1 - gamma
    likely = {(a, b): pair[0][0, a].item() * pair[1][0, b].item() for a, b in product((0, 1), repeat=2)}
    for clock in range(rounds):
        worth += gamma**clock * sum(chance * payoffs[:, a, b] for (a, b), chance in likely.items())
        following = dict.fromkeys(likely, 0.0)
        for (a, b), chance in likely.items():
            for c, d in following:
                observation = 1 + 2 * a + b, 1 + 2 * b + a
                following[c, d] += chance * pair[0][observation[0], c].item() * pair[1][observation[1], d].item()
        likely = following
    return worth


def draw_profile(seed):
    """Returns a profile of logits, and its responder."""
    game = RepeatedGame()
    torch.manual_seed(seed)
    return SoftmaxTableSpec().profile(game), GradientAscent(game, SoftmaxTableSpec(), learning_rate=STEP)


def learn(solver, seed, steps=STEPS):
    """Returns the profile after some steps, and the last metrics."""
    profile, responder = draw_profile(seed)
    for progress in solver.solve(profile, responder):
        if progress.iteration == steps:
            return profile, progress.metrics


@pytest.mark.parametrize(
    ("pair", "worth"),
    [
        ((DEFECT, DEFECT), (-2, -2)),
        ((TIT_FOR_TAT, TIT_FOR_TAT), (-1, -1)),
        ((COOPERATE, DEFECT), (-3, 0)),
        ((TIT_FOR_TAT, DEFECT), (0.04 * -3 + 0.96 * -2, 0.04 * 0 + 0.96 * -2)),  # fooled once
    ],
)
def test_values_known(pair, worth):
    assert RepeatedGame().values([strategy(each) for each in pair]).tolist() == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize("name", ["prisoners_dilemma", "matching_pennies", "chicken", "stag_hunt"])
@pytest.mark.parametrize("pair", [(MIXED, OTHER), (TIT_FOR_TAT, OTHER)])
def test_values_are_those_of_the_chain(name, pair):
    game, strategies = RepeatedGame(name), [strategy(each) for each in pair]
    assert game.values(strategies).tolist() == pytest.approx(simulate(game, strategies), abs=1e-10)


def test_many_profiles_at_once():
    own, others = (torch.stack([strategy(each) for each in pair]) for pair in ((MIXED, COOPERATE), (OTHER, DEFECT)))
    together = RepeatedGame().values([own, others])
    for each, *pair in zip(together, own, others, strict=True):
        torch.testing.assert_close(each, RepeatedGame().values(pair), rtol=0, atol=1e-14)


def test_play_earns_what_values_say():
    """Within four standard errors, for both seats; a game has 25 rounds on average."""
    game, strategies = RepeatedGame(), [strategy(each) for each in (MIXED, OTHER)]
    profile = [SoftmaxTablePolicy(each.log()) for each in strategies]
    earned = score(game, profile, derive_seeds(0, 20_000)).double()
    error = earned.std(0) / len(earned) ** 0.5
    assert error.max() < 0.02
    assert ((earned.mean(0) - game.values(strategies)).abs() < 4 * error).all()


def test_seats_see_the_last_round_from_their_own_side():
    """After (cooperate, defect) seat 0 is in state 2 and seat 1 in state 3, and they have earned -3 and 0 of 25."""
    game = RepeatedGame(discount=0.96)
    game.reset(derive_seeds(0, 100))
    turn = game.step(torch.tensor([[0, 1]]).expand(100, -1))
    going = ~turn.done
    assert 90 <= going.sum() < 100
    assert turn.observation[going].unique(dim=0).tolist() == [[[2], [3]]]
    assert turn.observation[turn.done].unique().tolist() == [0]
    torch.testing.assert_close(turn.reward, torch.tensor([[-3.0, 0.0]]).expand(100, -1) * 0.04)


def test_the_derivative_goes_through_the_step_of_the_other():
    """LOLA's gradient is that of V_i(own_i, other + look_ahead * step), by finite differences, unlike the naive
    one.
    """
    game, look_ahead, width = RepeatedGame(), 25.0, 1e-5
    own = [policy.logits for policy in draw_profile(0)[0]]
    result = lola_gradients(game.values, own, look_ahead)

    def ahead(seat, logits):
        now = [logits if each == seat else own[each].detach() for each in (0, 1)]
        leaves = [each.clone().requires_grad_() for each in now]
        steps = own_gradients(game.values, leaves, leaves)
        observation = [each if at == seat else each + look_ahead * steps[at] for at, each in enumerate(now)]
        return game.values([each.softmax(-1) for each in observation])[seat].item()

    for seat, state, action in product((0, 1), range(5), (0, 1)):
        nudge = torch.zeros(5, 2, dtype=torch.float64)
        nudge[state, action] = width
        here = own[seat].detach()
        difference = (ahead(seat, here + nudge) - ahead(seat, here - nudge)) / (2 * width)
        assert result[seat][state, action].item() == pytest.approx(difference, abs=1e-8)
    stood = [each + look_ahead * step for each, step in zip(own, own_gradients(game.values, own, own), strict=True)]
    without = own_gradients(game.values, own, [each.detach() for each in stood])
    assert min((first - naive).abs().max() for first, naive in zip(result, without, strict=True)) > 1e-3


def test_without_looking_ahead_it_is_naive_learning():
    naive, blind = learn(SelfPlay(), 3, 50), learn(LOLA(look_ahead=0.0), 3, 50)
    assert all(torch.equal(first.logits, second.logits) for first, second in zip(naive[0], blind[0], strict=True))
    assert naive[1] == blind[1]


def test_naive_learners_defect():
    for seed in range(SEEDS):
        _, metrics = learn(SelfPlay(), seed)
        assert [metrics["value/0"], metrics["value/1"]] == pytest.approx([-2, -2], abs=2e-3)


def test_lola_cooperates():
    """44 of 64 seeds end near mutual cooperation, and the mean payoff is near -1.2; the first seed is checked
    with the solver.
    """
    game = RepeatedGame()
    profiles = [draw_profile(seed)[0] for seed in range(64)]
    both = [torch.stack([profile[seat].logits.detach() for profile in profiles]) for seat in (0, 1)]
    for _ in range(STEPS):
        both = [each.requires_grad_() for each in both]
        both = [
            (each + STEP * step).detach()
            for each, step in zip(both, lola_gradients(game.values, both, STEP), strict=True)
        ]
    worth = game.values([each.softmax(-1) for each in both])
    assert worth.mean(0).tolist() == pytest.approx([-1.2, -1.2], abs=0.1)
    assert (worth.mean(1) > -1.2).double().mean() > 0.6
    _, metrics = learn(LOLA(), 0)
    assert [metrics["value/0"], metrics["value/1"]] == pytest.approx(worth[0].tolist(), abs=1e-6)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs marl-train in an empty folder; returns its exit code and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["marl-train", *arguments])
        with pytest.raises(SystemExit) as end:
            train.main()
        return end.value.code, capsys.readouterr().err

    return run


LEARNERS = [("solver=lola",), ("solver=self_play", "policy=logits", "responder=ascent")]


@pytest.mark.parametrize("learner", LEARNERS, ids=["lola", "naive"])
def test_a_run_goes_on_bit_for_bit(command, tmp_path, learner):
    usual = ("game=iterated_prisoners_dilemma", *learner, "episodes=4", "evaluate_every=4", "save_every=3")
    assert command(*usual, "iterations=8", "run=whole")[0] == 0
    assert command(*usual, "iterations=5", "run=half")[0] == 0
    assert command("resume=runs/half", "iterations=8")[0] == 0
    full, half = (checkpoint.read(tmp_path / f"runs/{run}/checkpoints/00000008") for run in ("whole", "half"))
    for first, second in zip(full["profile"]["policies"], half["profile"]["policies"], strict=True):
        assert torch.equal(first["logits"], second["logits"])


@pytest.mark.parametrize(
    ("overrides", "phrase"),
    [
        (
            ("game=kuhn_poker", "solver=lola"),
            "OpenSpiel is not differentiable: GradientAscent needs",
        ),
        (("solver=lola", "responder=exact"), "RepeatedGame is not in extensive form: ExactResponder needs `form`"),
        (
            ("solver=self_play", "responder=ascent", "policy=network"),
            "GradientAscent goes with policy=logits, not with MLPSpec",
        ),
        (("solver=lola", "solver.look_ahead=-1"), "solver.look_ahead must be a finite number of 0 or more, not -1"),
        (
            ("solver=lola", "responder.learning_rate=0"),
            "responder.learning_rate must be a finite number above 0",
        ),
        (("solver=lola", "policy.std=-1"), "policy.std must be a finite number of 0 or more, not -1"),
        (("solver=lola", "game.name=chiken"), "there is no matrix game 'chiken'; choose from chicken, "),
        (("solver=lola", "game.discount=1"), "game.discount must be a finite number of at least 0 and below 1, not 1"),
        (
            ("solver=mmd", "policy=logits", "responder=ascent"),
            "MMD needs a responder that supports anchor",
        ),
        (
            ("solver=mirror_prox", "policy=logits", "responder=ascent"),
            "MirrorProx needs a responder that",
        ),
    ],
)
def test_refused(command, tmp_path, overrides, phrase):
    code, error = command("game=iterated_prisoners_dilemma", *overrides)
    assert code == 2
    assert phrase in error
    assert not (tmp_path / "runs").exists()


def test_games_for_two_with_the_same_actions(tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match=r"equally many actions, not of payoffs \(2, 2, 3\)"):
        RepeatedGame(payoffs=str(tmp_path / "wide.npy"))


def test_lola_needs_values():
    _, responder = draw_profile(0)
    with pytest.raises(ValueError, match="LOLA goes with responder=ascent, not with object"):
        check_parts("LOLA", declared_types(LOLA().solve), responder=object())
    assert responder.game.values([strategy(DEFECT)] * 2).tolist() == pytest.approx([-2, -2])
