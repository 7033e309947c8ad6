"""Objectives: opponents, payoffs and look-aheads, and the work of a step."""

from copy import deepcopy
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toys import Matrix

from games.normal_form.games import PreferenceMatrix
from games.normal_form.repeated import RepeatedGame
from marl_engine.numerics.state import get_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.softmax_table import SoftmaxTableSpec
from marl_engine.policies.tabular import TabularSpec, average_strategy, fill_tables
from marl_engine.responders import PPO, ExactResponder, GradientAscent
from marl_engine.types import Objective, Opponents, Payoff, Work, main_unit
from solvers.best_response import BestResponse
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_md import NashMD
from solvers.opponent_shaping.lola import LOLA
from solvers.populations.psro import PSRO

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


@pytest.mark.parametrize(
    ("solver", "supports", "sentence"),
    [
        (MMD(), {"opponents"}, "MMD needs a responder that supports anchor, magnet; .* supports opponents:"),
        (NashMD(), {"anchor", "magnet"}, "NashMD needs a responder that supports opponents, anchor, magnet"),
        (MirrorProx(), set(), "MirrorProx .* supports none of these"),
        (BestResponse(magnet_weight=0.1), {"opponents"}, "BestResponse .* opponents, magnet"),
    ],
)
def test_a_responder_that_does_not_support_what_a_solver_asks_is_refused_when_solve_is_called(
    solver, supports, sentence
):
    profile = TabularSpec().profile(PreferenceMatrix("cycle"))
    with pytest.raises(ValueError, match=sentence):
        solver.solve(profile, SimpleNamespace(supports=frozenset(supports)))


def test_an_exact_responder_refuses_a_payoff_of_trajectories():
    game = PreferenceMatrix("cycle")
    with pytest.raises(ValueError, match="function of trajectories"):
        ExactResponder(game).respond(
            TabularSpec().profile(game), objective=Objective(payoff=Payoff(lambda each: each.reward))
        )


@pytest.mark.parametrize("anchored", [False, True])
def test_the_answer_to_several_opponents_is_the_answer_to_their_mixture(anchored):
    """With two players payoffs are linear in the other's plan, so only the mean of plans matters."""
    game, generator = PreferenceMatrix("dice"), np.random.default_rng(0)
    members, weights = [], (0.5, 0.2, 0.3)
    for _ in weights:
        members.append(TabularSpec().profile(game))
        rows = generator.dirichlet(np.ones(game.actions), 2)
        fill_tables(members[-1], np.concatenate([np.ones(2), *rows]))
    mixture = TabularSpec().profile(game)
    fill_tables(mixture, average_strategy(list(zip(*members, strict=True)), [weights] * 2))
    answers = []
    for opponents in (Opponents(members, weights), Opponents([mixture])):
        profile = TabularSpec().profile(game)
        objective = Objective(anchor=freeze(profile), step_size=3.0) if anchored else Objective()
        ExactResponder(game).respond(profile, opponents, objective)
        answers.append(profile[0].strategy)
    torch.testing.assert_close(*answers, rtol=0, atol=1e-12)


def test_a_look_ahead_restores_policies_and_optimisers_but_counts_work():
    torch.manual_seed(0)
    network = MLPSpec(hidden=(8,))
    profile = network.profile(game := Matrix(PENNIES, team=False))
    responder = PPO(game, network, num_envs=8, rollout_length=4, minibatches=1)
    responder.respond(profile)
    before = deepcopy((profile[0].state_dict(), get_state(responder.learners[profile[0]].policy_optimiser)))
    snapshot = responder.snapshot(profile)
    responder.respond(profile)
    weights = deepcopy(profile[0].state_dict())
    responder.rollback(profile, snapshot)
    after = profile[0].state_dict(), get_state(responder.learners[profile[0]].policy_optimiser)
    for one, other in zip(before, after, strict=True):
        assert all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one)
    assert any(not torch.equal(weights[name], before[0][name]) for name in weights)
    assert responder.work == {"steps": 2 * 8 * 4}


def test_a_payoff_takes_the_place_of_the_games_rewards():
    """The game rewards equal actions, the objective action 1; the batch has the objective's."""
    torch.manual_seed(0)
    network = MLPSpec(hidden=(8,))
    profile = network.profile(game := Matrix(PENNIES, team=False))
    responder = PPO(game, network, num_envs=64, rollout_length=16, minibatches=1, learning_rate=0.02, entropy_bonus=0)
    objective = Objective(payoff=Payoff(lambda trajectory: trajectory.action.float()))
    for _ in range(20):
        step = responder.respond(profile, objective=objective)
    (trajectory,) = step.batch
    assert torch.equal(trajectory.reward, trajectory.action.float())
    assert trajectory.action.float().mean() > 0.95


@pytest.mark.parametrize(
    ("solver", "iterations", "work"),
    [
        (MMD(), 3, {"queries": 3}),
        (MirrorProx(), 3, {"queries": 6}),
        (PSRO(), 1, {"queries": 1 + 1 + 3}),  # the cell of the first members, an answer, and the cells that it opens
    ],
)
def test_queries_of_exact_solvers(solver, iterations, work):
    game = PreferenceMatrix("rock_paper_scissors", reference=(0.6, 0.3, 0.1))
    steps = islice(solver.solve(TabularSpec().profile(game), ExactResponder(game)), iterations)
    assert sum((step.work for step in steps), Work()) == work


def test_a_payoff_is_queried_against_each_opponent():
    profile = TabularSpec().profile(game := PreferenceMatrix("rock_paper_scissors"))
    opponents = Opponents([freeze(profile), freeze(profile)], (0.5, 0.5))
    assert ExactResponder(game).respond(profile, opponents).work == {"queries": 2}


def test_lola_counts_the_gradients_of_both_players():
    game = RepeatedGame()
    responder, profile = GradientAscent(game), SoftmaxTableSpec().profile(game)
    assert next(LOLA().solve(profile, responder)).work == responder.work == {"gradients": 2}
    assert responder.respond(profile).work == {"gradients": 1}


def test_the_unit_of_a_run_is_steps_or_the_first_unit_counted():
    assert main_unit({"queries": 3, "steps": 1}) == "steps"
    assert main_unit({"nodes": 5, "queries": 3, "seconds": 1.0}) == "queries"
    assert main_unit({"iteration": 4}) == "iteration"
