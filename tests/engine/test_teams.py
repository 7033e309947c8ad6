"""Learners of teams refuse games of opponents."""

import numpy as np
import pytest

from games.mpe import ParticleWorlds
from games.normal_form import MatrixGame
from games.openspiel import OpenSpiel, OpenSpielStates
from games.overcooked import Overcooked
from games.pettingzoo import names
from marl_engine.errors import Refused
from marl_engine.policies.bayes_net import BayesNetSpec
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders import QLearning
from marl_engine.teams import are_opposed

OPPONENTS = {
    "rock_paper_scissors": lambda: MatrixGame("rock_paper_scissors"),
    "tag": lambda: ParticleWorlds("simple_tag"),
    "kuhn": lambda: OpenSpiel("kuhn_poker(players=3)"),
    "connect_four": lambda: OpenSpielStates("connect_four"),
}
TEAMS = {
    "climbing": lambda: MatrixGame("climbing"),
    "prisoners": lambda: MatrixGame("prisoners_dilemma"),
    "speaker_listener": lambda: ParticleWorlds("simple_speaker_listener"),
    "overcooked": lambda: Overcooked(),
}


def learn(game, mixer="monotonic"):
    return QLearning(game, MLPSpec(action_values=True), num_envs=2, memory=100, batch=8, warm_up=16, mixer=mixer)


@pytest.mark.parametrize("name", OPPONENTS)
def test_opponents_are_no_team(name):
    game = OPPONENTS[name]()
    with pytest.raises(
        Refused, match=r"responder=qmix is for teams, and \w+ is not a game of a team, .*game=overcooked"
    ):
        learn(game)
    with pytest.raises(Refused, match=r"responder=vdn is for teams, "):
        learn(game, "sum")
    with pytest.raises(Refused, match=r"BayesNetSpec is for teams, .* choose solver=self_play"):
        BayesNetSpec().profile(game)


@pytest.mark.parametrize("name", TEAMS)
def test_teams_are_taken(name):
    game = TEAMS[name]()
    learn(game)
    assert len(BayesNetSpec().profile(game)) == 2


def test_opponents_have_a_constant_sum_that_is_divided_differently():
    own = np.array([3.0, 1.0, 0.0])
    assert are_opposed(np.stack([own, 4 - own], axis=1))
    assert not are_opposed(np.stack([own, own], axis=1))
    assert not are_opposed(np.stack([own, 2 - 2 * own], axis=1))
    assert not are_opposed(np.full((3, 2), 2.0))
    assert not are_opposed(np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("classic/connect_four", True),
        ("simple_tag", True),
        ("hanabi", False),
        ("simple_spread", False),
        ("my_package:simple_tag", False),
    ],
)
def test_environments_that_are_known_to_have_opponents(env, expected):
    assert names.is_competitive(env) == expected
