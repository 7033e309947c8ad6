"""Scripted cooks deliver soups in every kitchen of overcooked-ai, as a pair or beside one who stands still."""

import pytest

from games.overcooked import Overcooked, layouts
from games.overcooked.cooks import COOKS, NOTHING, CookPolicy, Skill
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.rollout import score

STILL = Skill(0.0, NOTHING)


@pytest.mark.parametrize("layout", sorted(layouts.built_in()["layouts"]))
def test_cooks_deliver_soups(layout):
    game, seeds = Overcooked(layout=layout), derive_seeds(0, 4)
    cook, still = (CookPolicy(game.kitchen, skill) for skill in (COOKS["cook_100"], STILL))
    seats = range(game.players)
    teams = [[cook] * game.players, *([cook if each == seat else still for each in seats] for seat in seats)]
    assert any(score(game, team, seeds).mean() > 0 for team in teams)
