"""Preference games: equivalent forms of the mirror step, and the bounds of the papers."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from games.normal_form.catalogue import PREFERENCES
from games.normal_form.games import PreferenceMatrix, RaterMatrix
from marl_engine.extensive_form.regularised import duality_gap
from marl_engine.policies.mixtures.geometric import freeze, mix_geometrically
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.types import Objective, Opponents
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_md import NashMD

START = np.array((0.6, 0.3, 0.1))
PULL = 0.1


def first_seat(solver, game, iterations):
    """Returns the first seat's strategy at the start and after every iteration, (T + 1, A)."""
    profile = TabularSpec().profile(game)
    steps = islice(solver.solve(profile, ExactResponder(game)), iterations)
    return np.array([game.start[2 : 2 + game.actions], *(profile[0].strategy.numpy().copy() for _ in steps)])


def equilibrium(name, magnet_weight):
    """Returns the equilibrium of the game regularised towards START, by Mirror-Prox."""
    return first_seat(MirrorProx(magnet_weight=magnet_weight), PreferenceMatrix(name, reference=START), 500)[-1]


def divergence(one, other):
    return float((one * np.log(one / other)).sum())


@pytest.mark.parametrize("step_size", [0.05, 1.0, 20.0])
def test_implicit_and_explicit_steps_are_one(step_size):
    """gamma and eta = gamma / (1 + gamma * pull) give the same iterates, and gamma = eta / (1 - eta * pull) back."""
    eta, preference = step_size / (1 + step_size * PULL), np.array(PREFERENCES["cycle"])
    assert eta / (1 - eta * PULL) == pytest.approx(step_size)
    iterates = first_seat(MMD(step_size, PULL), PreferenceMatrix("cycle", reference=START), 20)
    for before, after in pairwise(iterates):
        logit = (1 - eta * PULL) * np.log(before) + eta * PULL * np.log(START) + eta * preference @ before
        assert after == pytest.approx(np.exp(logit) / np.exp(logit).sum(), abs=1e-12)


def test_the_mirror_step_minimises_inpos_loss():
    """The loss of Zhang et al. 2024, averaged over pairs y, y' ~ pi_t and labels, has no gradient there."""
    inverse = 4.0  # eta in the letters of INPO: an inverse step
    preference = torch.tensor(PREFERENCES["cycle"], dtype=torch.float64)
    iterates = first_seat(
        MMD((1 / inverse) / (1 - PULL / inverse), PULL), PreferenceMatrix("cycle", reference=(0.6, 0.3, 0.1)), 3
    )
    start, here = torch.from_numpy(START), torch.from_numpy(iterates[2])

    def loss(log_policy):
        ratio = log_policy - (PULL / inverse) * start.log() - (1 - PULL / inverse) * here.log()
        h = ratio[:, None] - ratio
        wins = preference * (h - 1 / (2 * inverse)) ** 2 + preference.T * (-h - 1 / (2 * inverse)) ** 2
        return (here[:, None] * here * wins).sum()

    for strategy, is_minimum in ((iterates[3], True), (iterates[2], False)):
        logits = torch.from_numpy(strategy).log().requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits.log_softmax(-1)), logits)
        assert (float(slope.abs().max()) < 1e-12) == is_minimum


@pytest.mark.parametrize("name", PREFERENCES)
def test_steps_of_nash_md_keep_to_their_bound(name):
    """KL(equilibrium || next) <= (1 - eta * pull) KL(equilibrium || now) + 2 eta^2 (Munos et al. 2023, theorem 1)."""
    target, scale = equilibrium(name, PULL), 5.0
    iterates = first_seat(NashMD(scale, PULL, anneal=True), PreferenceMatrix(name, reference=START), 400)
    distances = [divergence(target, each) for each in iterates]
    for iteration, (now, following) in enumerate(pairwise(distances), 1):
        eta = min(scale, 2 / (PULL * (iteration + 1)))
        assert following <= (1 - eta * PULL) * now + 2 * eta**2
    slope = np.polyfit(np.log(np.arange(50, 401)), np.log(distances[50:]), 1)[0]
    assert slope < -0.9 or distances[-1] < 1e-10


@pytest.mark.parametrize(
    ("weight", "distance"), [(0.0, 0.0), (0.125, 0.0032), (0.5, 0.0874), (0.9, 0.345), (1.0, 0.365)]
)
def test_where_gradients_against_a_mixture_come_to_rest(weight, distance):
    """Nash-MD-PG's fixed point responds to profile^(1 - b) * reference^b, which is the equilibrium at w / (1 - b)
    for magnet weight w.
    """
    game = PreferenceMatrix("cycle", reference=START)
    profile, responder = TabularSpec().profile(game), ExactResponder(game)
    reference = freeze(profile)
    for _ in range(3000):
        mixture = mix_geometrically(profile, reference, weight)
        responder.respond(profile, Opponents([mixture]), Objective(freeze(profile), 0.5, reference, PULL))
    assert duality_gap(game.form, stack_tables(profile), stack_tables(reference), PULL) == pytest.approx(
        distance, abs=5e-4
    )
    if weight < 1:
        mixture = mix_geometrically(profile, reference, weight)[0].strategy.numpy()
        assert mixture == pytest.approx(equilibrium("cycle", PULL / (1 - weight)), abs=1e-8)


def with_falling_steps(game, magnet_weight, iterations, meets_itself):
    """Returns the first seat's strategies (T + 1, A) with eta_t = 2 / (w * (t + 2)) for magnet weight w.

    The steps are Nash-MD's against the mixture, which is the reference at first, or INPO's against itself.
    """
    profile, responder, iterates = TabularSpec().profile(game), ExactResponder(game), [START]
    reference = freeze(profile)
    for iteration in range(iterations):
        step = 2 / (magnet_weight * (iteration + 2))
        itself = freeze(profile)
        mixture = mix_geometrically(itself, reference, step * magnet_weight)
        opponents = Opponents([itself if meets_itself else mixture])
        responder.respond(profile, opponents, Objective(anchor=mixture, step_size=step))
        iterates.append(profile[0].strategy.numpy().copy())
    return np.array(iterates)


@pytest.mark.parametrize("name", PREFERENCES)
def test_with_the_steps_of_theorem_1_nash_md_is_within_its_bound(name):
    """N1: KL(equilibrium || pi_T) <= 8 / (w^2 (T + 1)), with magnet weight w; in fact much less, falling as 1 / T^2.

    This holds for the mixture, whose bias is the weight 2 / T of the reference.
    """
    target = equilibrium(name, PULL)
    iterates = with_falling_steps(PreferenceMatrix(name, reference=START), PULL, 1000, meets_itself=False)
    distances, count = np.array([divergence(target, each) for each in iterates]), np.arange(1001)
    assert (distances <= 8 / (PULL**2 * (count + 1)) / 100).all()
    slope = np.polyfit(np.log(count[300:]), np.log(distances[300:]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.3)


@pytest.mark.parametrize("name", PREFERENCES)
def test_with_steps_that_fall_inpo_is_within_its_bound_and_faster_than_nash_md(name):
    """I3: inverse steps w (t + 2) / 2; KL <= 32 C^2 / (w^2 (T + 1)), C = max(B w, 1), B >= |log pi_t / mu|.

    Against itself, instead of Nash-MD's mixture, it also satisfies Nash-MD's bound, and KL falls as 1 / T^4.
    """
    target, game = equilibrium(name, PULL), PreferenceMatrix(name, reference=START)
    iterates = with_falling_steps(game, PULL, 600, meets_itself=True)
    distances, count = np.array([divergence(target, each) for each in iterates]), np.arange(601)
    largest = max(PULL * float(np.abs(np.log(iterates / START)).max()), 1.0)
    assert (distances <= 32 * largest**2 / (PULL**2 * (count + 1))).all()
    assert (distances <= 8 / (PULL**2 * (count + 1))).all()
    slope = np.polyfit(np.log(count[100:300]), np.log(distances[100:300]), 1)[0]
    assert slope == pytest.approx(-4, abs=0.5)
    strategy, reference = (np.concatenate([[1, 1], each, each]) for each in (iterates[-1], START))
    assert duality_gap(game.form, strategy, reference, PULL) < 1e-6


@pytest.mark.parametrize("tilt", [0.1, -0.2, 0.3])
def test_the_equilibrium_of_a_population_is_no_share_of_it(tilt):
    """Munos et al. 2023, section 3.2: three kinds of raters, each certain of one pair and indifferent otherwise.

    With shares (1/3 - tilt, 1/3 + tilt/2, 1/3 + tilt/2) of those who say a > b, b > c and c > a, the equilibrium is
    (1/3 + tilt/2, 1/3 + tilt/2, 1/3 - tilt). One kind is two of ours: a > b > c and c > a > b, half each.
    """
    shares = np.array([1 / 3 - tilt, 1 / 3 + tilt / 2, 1 / 3 + tilt / 2])
    scores = [np.roll(each, kind).tolist() for kind in range(3) for each in ((2, 1, 0), (1, 0, 2))]
    game = RaterMatrix(scores=scores, shares=np.repeat(shares / 2, 2).tolist(), temperature=0.0, reference=START)
    assert np.diag(game.earns[0].numpy(), 1) == pytest.approx(shares[:2] / 2)
    iterates = first_seat(MMD(2.0, 0.03, move_every=60), game, 1500)[-1]
    assert iterates == pytest.approx(np.roll(shares, -1), abs=1e-5)


@pytest.mark.parametrize("magnet_weight", [0.5, 0.05, 0.02])
def test_the_equilibrium_is_no_further_from_the_reference_than_the_pull_allows(magnet_weight):
    """KL(equilibrium || reference) <= 1 / (2 w) for magnet weight w, since at most 1/2 can be won."""
    for draw in range(4):
        reference = np.random.default_rng(draw).dirichlet(np.full(5, 0.3)) + 1e-6
        game = RaterMatrix(raters=3, answers=5, temperature=0.1, draw=draw, reference=reference / reference.sum())
        assert (
            0
            < divergence(first_seat(MirrorProx(magnet_weight=magnet_weight), game, 200)[-1], game.start[2:7])
            <= 1 / (2 * magnet_weight)
        )
    rare = np.exp(-0.375 / magnet_weight)
    game = RaterMatrix(scores=[[1.0, 0.0]], temperature=0.0, reference=(rare, 1 - rare))
    iterates = first_seat(MirrorProx(magnet_weight=magnet_weight), game, 500)[-1]
    odds = rare / (1 - rare) * np.exp(0.5 / magnet_weight)
    assert iterates[0] == pytest.approx(odds / (1 + odds))
    assert divergence(iterates, np.array([rare, 1 - rare])) <= 1 / (2 * magnet_weight)
