"""Preference games: one mirror step under many names, and what papers prove of it."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from games.matrix import Preference
from games.payoffs import PREFERENCES
from marl_engine.exact import Exact, gap
from marl_engine.reference import frozen, mixed
from marl_engine.tables import Table, strategy_in
from solvers.mirror_prox import MirrorProx
from solvers.mmd import MMD
from solvers.nash_md import NashMD

START = np.array((0.6, 0.3, 0.1))
PULL = 0.1


def first_seat(solver, game, iterations):
    """The first seat's strategy at the start and after every iteration (T + 1, A)."""
    profile = Table().profile(game)
    steps = islice(solver.solve(profile, Exact(game)), iterations)
    return np.array([START, *(profile[0].strategy.numpy().copy() for _ in steps)])


def equilibrium(name, pull):
    """Of the game regularised towards START, by Mirror-Prox."""
    return first_seat(MirrorProx(pull=pull), Preference(name, reference=START), 3000)[-1]


def divergence(one, other):
    return float((one * np.log(one / other)).sum())


@pytest.mark.parametrize("step_size", [0.05, 1.0, 20.0])
def test_implicit_and_explicit_steps_are_one(step_size):
    """gamma and eta = gamma / (1 + gamma * pull) give the same iterates, and gamma = eta / (1 - eta * pull) back."""
    eta, preference = step_size / (1 + step_size * PULL), np.array(PREFERENCES["cycle"])
    assert eta / (1 - eta * PULL) == pytest.approx(step_size)
    found = first_seat(MMD(step_size, PULL), Preference("cycle", reference=START), 20)
    for before, after in pairwise(found):
        logit = (1 - eta * PULL) * np.log(before) + eta * PULL * np.log(START) + eta * preference @ before
        assert after == pytest.approx(np.exp(logit) / np.exp(logit).sum(), abs=1e-12)


def test_the_mirror_step_minimises_inpos_loss():
    """The loss of Zhang et al. 2024, its mean over pairs y, y' ~ pi_t and their judgments, has no slope there."""
    inverse = 4.0  # eta in the letters of INPO: an inverse step
    preference = torch.tensor(PREFERENCES["cycle"], dtype=torch.float64)
    found = first_seat(
        MMD((1 / inverse) / (1 - PULL / inverse), PULL), Preference("cycle", reference=(0.6, 0.3, 0.1)), 3
    )
    start, here = torch.from_numpy(START), torch.from_numpy(found[2])

    def loss(log_policy):
        ratio = log_policy - (PULL / inverse) * start.log() - (1 - PULL / inverse) * here.log()
        h = ratio[:, None] - ratio
        wins = preference * (h - 1 / (2 * inverse)) ** 2 + preference.T * (-h - 1 / (2 * inverse)) ** 2
        return (here[:, None] * here * wins).sum()

    for strategy, is_minimum in ((found[3], True), (found[2], False)):
        logits = torch.from_numpy(strategy).log().requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits.log_softmax(-1)), logits)
        assert (float(slope.abs().max()) < 1e-12) == is_minimum


@pytest.mark.parametrize("name", PREFERENCES)
def test_steps_of_nash_md_keep_to_their_bound(name):
    """KL(equilibrium || next) <= (1 - eta * pull) KL(equilibrium || now) + 2 eta^2 (Munos et al. 2023, theorem 1)."""
    target, scale = equilibrium(name, PULL), 5.0
    found = first_seat(NashMD(scale, PULL, anneal=True), Preference(name, reference=START), 400)
    distances = [divergence(target, each) for each in found]
    for iteration, (now, following) in enumerate(pairwise(distances), 1):
        eta = scale / iteration
        assert following <= (1 - eta * PULL) * now + 2 * eta**2
    slope = np.polyfit(np.log(np.arange(50, 401)), np.log(distances[50:]), 1)[0]
    assert slope < -0.9 or distances[-1] < 1e-10


@pytest.mark.parametrize(
    ("weight", "distance"), [(0.0, 0.0), (0.125, 0.0032), (0.5, 0.0874), (0.9, 0.345), (1.0, 0.365)]
)
def test_where_gradients_against_a_mixture_come_to_rest(weight, distance):
    """Nash-MD-PG's fixed point answers profile^(1 - b) * reference^b, which is the equilibrium at pull / (1 - b)."""
    game = Preference("cycle", reference=START)
    profile, responder = Table().profile(game), Exact(game)
    reference = frozen(profile)
    for _ in range(3000):
        against = mixed(profile, reference, weight)
        responder.respond(profile, against, anchor=frozen(profile), step_size=0.5, magnet=reference, pull=PULL)
    assert gap(game.form, strategy_in(profile), strategy_in(reference), PULL) == pytest.approx(distance, abs=5e-4)
    if weight < 1:
        mixture = mixed(profile, reference, weight)[0].strategy.numpy()
        assert mixture == pytest.approx(equilibrium("cycle", PULL / (1 - weight)), abs=1e-8)
