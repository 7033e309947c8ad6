"""Joint PSRO converges to correlated equilibria of games with more than two players."""

from itertools import islice

import numpy as np
import pytest
import torch

from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from marl_engine.evaluation.correlated import correlated_gap
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TabularSpec
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from marl_engine.runners import LOCAL
from marl_engine.types import Opponents
from solvers.normal_form.correlated import cce_regrets, ce_regrets, max_entropy_correlated, max_gini_correlated
from solvers.populations import JPSRO
from solvers.populations.jpsro import SELECTIONS, joint_opponents
from solvers.populations.oracles import Oracle, train_newcomers


@pytest.mark.parametrize("kind", ["ce", "cce"])
def test_max_gini_is_the_equilibrium_with_the_smallest_squares(kind):
    payoffs = np.random.default_rng(0).normal(size=(3, 3, 4, 2))
    joint = max_gini_correlated(payoffs, kind)
    regrets = ce_regrets if kind == "ce" else cce_regrets
    assert regrets(payoffs, joint).max() < 1e-6
    other = max_entropy_correlated(payoffs, kind)
    for share in (0.01, 0.1, 1):  # the set of equilibria is convex
        assert np.square(joint).sum() <= np.square((1 - share) * joint + share * other).sum() + 1e-9
    assert max_gini_correlated(np.zeros((2, 3, 2)), kind) == pytest.approx(np.full((3, 2), 1 / 6))


def pure_members(game, seat):
    """Returns the pure strategies of a seat of a matrix game."""
    members = []
    for action in range(game.actions):
        policy = TabularSpec().profile(game)[seat]
        policy.strategy.copy_(torch.eye(game.actions)[action])
        members.append(policy)
    return members


@pytest.mark.parametrize("recommended", [False, True], ids=["cce", "ce"])
def test_gaps_of_a_matrix_game_are_its_regrets(recommended):
    game = MatrixGame("chicken")
    members = [pure_members(game, seat) for seat in (0, 1)]
    joint = np.random.default_rng(1).dirichlet(np.ones(4)).reshape(2, 2)
    regrets = ce_regrets if recommended else cce_regrets
    gap = correlated_gap(game, members, joint, recommended)
    assert gap == pytest.approx(regrets(game.earns.numpy(), joint).sum(), abs=1e-9)


def test_jpsro_finds_an_equilibrium_of_kuhn_poker_with_three_players():
    """No newcomer gains against the joint distribution, which is then a CCE of the whole game."""
    game, solver = OpenSpiel("kuhn_poker(players=3)"), JPSRO()
    steps = list(islice(solver.solve(TabularSpec().profile(game), ExactResponder(game)), 14))
    gaps = [step.metrics["cce_gap"] for step in steps]
    assert gaps[0] == pytest.approx(5 / 6, abs=1e-6)
    assert gaps[-1] == pytest.approx(0, abs=1e-6)
    assert sum(steps[-1].metrics[f"meta/value/{seat}"] for seat in range(3)) == pytest.approx(0, abs=1e-9)


def test_newcomers_of_a_ce_meet_the_others_given_their_recommendation():
    joint = np.array([[0.5, 0.25], [0.0, 0.25]])
    met = [(tuple(seats), each.tolist()) for seats, each in JPSRO("ce").opponents(joint)]
    assert met == [
        ((0,), [[2 / 3, 1 / 3], [0, 0]]),
        ((0,), [[0, 0], [0, 1]]),
        ((1,), [[1, 0], [0, 0]]),
        ((1,), [[0, 0.5], [0, 0.5]]),
    ]
    opponents = joint_opponents([["a", "b"], ["c", "d"]], joint)
    assert opponents.members == [["a", "c"], ["a", "d"], ["b", "d"]]
    assert opponents.weights == [0.5, 0.25, 0.25]


def test_a_newcomer_learns_in_the_seat_of_its_recommendation_only():
    """One network sits in both seats, and meets scissors in the first. In the second it would have to beat paper."""
    torch.manual_seed(0)
    game, network = MatrixGame("rock_paper_scissors"), MLPSpec(hidden=(8,))
    learner = PPO(game, network, num_envs=32, rollout_length=4, minibatches=1, learning_rate=0.02, entropy_bonus=0.0)
    newcomers, (_, paper, _), (*_, scissors) = network.profile(game), *(pure_members(game, seat) for seat in (0, 1))
    oracle = Oracle(newcomers, [0], Opponents([[paper, scissors]]))
    step = train_newcomers(learner, [oracle], 20, 1, LOCAL)
    assert newcomers[0] is newcomers[1]
    assert step.work["steps"] == 20 * 32 * 4
    rock, *others = extract_strategy(game, newcomers)[2:5]
    assert rock > 0.9 > 0.1 > max(others)


@pytest.mark.parametrize("select", SELECTIONS)
def test_every_selection_solves_chicken(select):
    """All members are found, and the joint distribution is an equilibrium of the whole game."""
    game = MatrixGame("chicken")
    steps = list(islice(JPSRO("ce", select).solve(TabularSpec().profile(game), ExactResponder(game)), 5))
    assert steps[-1].metrics["ce_gap"] == pytest.approx(0, abs=1e-6)


def test_unknown_concepts_are_refused():
    with pytest.raises(ValueError, match="select must be one of max_gini, max_entropy, max_welfare"):
        JPSRO(select="max")
