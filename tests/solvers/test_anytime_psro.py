"""Anytime PSRO plays the mixture of its members that is exploited least, so more members do no harm."""

import json
from itertools import islice, product

import numpy as np
import pytest
import torch

from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.sequence_form import nash_conv, realization_plan
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec, average_strategy
from marl_engine.policies.weights import digest_weights
from marl_engine.populations import MatchFile
from marl_engine.populations.matches import Match
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from solvers.populations.anytime_double_oracle import empty_cuts, solve_mixture
from solvers.populations.anytime_psro import AnytimePSRO


def least_exploited(game, population):
    """Returns the smallest NashConv of a mixture of the members of each seat, in the whole game."""
    mixtures = [
        solve_mixture(game.form, seat, members, empty_cuts(game.form, seat), 1e-9)[0]
        for seat, members in enumerate(population.members)
    ]
    return nash_conv(game.form, realization_plan(game.form, average_strategy(population.members, mixtures)))


@pytest.mark.parametrize(("method", "updates", "error"), [("linear_program", 10, 1e-9), ("regret_matching", 60, 0.06)])
def test_the_mixture_is_exploited_least(method, updates, error):
    """As little as that of `AnytimeDoubleOracle` with the same members, after every iteration."""
    game, solver = OpenSpiel("kuhn_poker"), AnytimePSRO(method, updates)
    solving, values, least = solver.solve(TabularSpec().profile(game), ExactResponder(game)), [], []
    for _ in range(7):
        if solver.population is not None:
            least.append(least_exploited(game, solver.population))
        values.append(next(solving).metrics["nash_conv"])
    assert np.diff(values).max() <= error / 10
    assert (np.array(values[1:]) <= np.array(least) + error).all()
    assert values[-1] <= error


def test_networks_are_exploited_no_more_with_more_members():
    torch.manual_seed(0)
    game, network = OpenSpiel("kuhn_poker"), MLPSpec(hidden=(32,))
    settings = {"num_envs": 128, "rollout_length": 8, "minibatches": 1, "learning_rate": 0.01, "entropy_bonus": 0.02}
    solver = AnytimePSRO(updates=6, oracle_steps=3)
    steps = islice(solver.solve(network.profile(game), PPO(game, network, **settings)), 4)
    values = [step.metrics["nash_conv"] for step in steps]
    assert np.diff(values).max() < 0.02
    assert values[-1] < values[0] / 3


def test_seats_share_members_in_a_symmetric_game():
    torch.manual_seed(0)
    game, network = MatrixGame("rock_paper_scissors"), MLPSpec(hidden=(8,))
    learner = PPO(game, network, num_envs=16, rollout_length=4, minibatches=1, learning_rate=0.05)
    solver = AnytimePSRO(updates=2, games=8)
    steps = list(islice(solver.solve(network.profile(game), learner), 3))
    assert solver.population.sizes == (4, 4)
    assert all(one is other for one, other in zip(*solver.population.members, strict=True))
    assert steps[-1].work["queries"] == 4 + 2 * 2 * 3  # cells of the new member, and of all members with newcomers


def test_the_table_of_members_and_their_matches_are_kept(tmp_path):
    game = OpenSpiel("kuhn_poker")
    solver = AnytimePSRO(updates=2, games=8)
    solver.matches = MatchFile(tmp_path)
    *_, last = islice(solver.solve(TabularSpec().profile(game), ExactResponder(game)), 3)
    (artefact,) = solver.artefacts()
    table = json.loads(artefact.text)
    weights = [np.array(each["estimate"]) for each in table["weights"]]
    payoff, error = np.array(table["payoff"]), last.metrics["meta/value/0/high"] - last.metrics["meta/value/0"]
    assert np.all(np.array(table["games"]) == 8)
    assert weights[0] @ payoff[0] @ weights[1] == pytest.approx(last.metrics["meta/value/0"], abs=1e-4)
    assert error > 0
    again = AnytimePSRO(updates=2, games=8)
    again.matches = MatchFile(tmp_path)  # cells are taken from the file, so nothing changes
    *_, same = islice(again.solve(TabularSpec().profile(game), ExactResponder(game)), 3)
    assert same.metrics == last.metrics
    digests = [[digest_weights(member) for member in members] for members in again.population.members]
    keys = [Match(place, 0, 8) for place in product(*digests)]
    assert set(again.matches.find(keys)) == set(keys)


def test_other_games_are_refused():
    game = MatrixGame("chicken")
    with pytest.raises(ValueError, match="AnytimePSRO is for two-player zero-sum games"):
        AnytimePSRO().solve(TabularSpec().profile(game), ExactResponder(game))
