"""Scripted cooks: they deliver soups, see in observations what is in the state, and are entrants and opponents."""

import pytest
import torch

from games.overcooked import Overcooked
from games.overcooked.cooks import COOKS, CookPolicy, choose_recipe, cook_distribution, make_plan
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.rollout import score
from marl_engine.runs.factory import build
from marl_engine.tournaments.entrants import make_other
from marl_engine.types import Opponents


def pair_return(game, first, second=None, games=4):
    """Returns the mean return of two scripted cooks by name."""
    names = (first, second or first)
    return score(game, [CookPolicy(game.kitchen, COOKS[name]) for name in names], derive_seeds(0, games)).mean().item()


@pytest.mark.parametrize(
    ("layout", "least"),
    [
        ("cramped_room", 60),
        ("asymmetric_advantages", 240),
        ("coordination_ring", 120),
        ("forced_coordination", 160),
        ("forced_coordination_tomato", 120),  # soups come back over the counters that ingredients would fill
        ("counter_circuit", 120),
    ],
)
def test_two_cooks_deliver_soups_and_weaker_ones_fewer(layout, least):
    game = Overcooked(layout=layout)
    strong = pair_return(game, "cook_100")
    assert strong >= least
    assert pair_return(game, "cook_25") < strong


def test_cooks_see_in_observations_what_is_in_the_state():
    game = Overcooked(layout="forced_coordination", horizon=120)
    plan, cook = make_plan(game.kitchen), CookPolicy(game.kitchen, COOKS["cook_75"])
    turn = game.reset(derive_seeds(0, 6))
    for number in range(100):
        known = cook_distribution(game.kitchen, plan, game.rows, COOKS["cook_75"])
        seen, _ = cook(turn.observation.flatten(0, 1))
        assert torch.equal(known.log_probs, seen.log_probs)
        noise = torch.rand(12, generator=torch.Generator().manual_seed(number))
        turn = game.step(known.sample(noise)[0].view(6, 2))
    assert turn.observation[..., 16:22].any()  # there were soups


def test_recipes_pay_best_for_their_time():
    assert choose_recipe(Overcooked(layout="cramped_room").kitchen) == (3, 0)
    assert choose_recipe(Overcooked(layout="simple_tomato").kitchen) == (0, 3)
    assert choose_recipe(Overcooked(layout="bonus_order_test").kitchen) == (1, 1)  # it is paid twice


def test_cooks_are_entrants_and_opponents():
    components = build(
        compose_config("train", ["game=overcooked", "responder.num_envs=4", "responder.rollout_length=8"])
    )
    game = components.game
    assert set(COOKS) <= set(game.slow_bots)
    entrant = make_other("cook_50", game, [])
    turn = game.reset(derive_seeds(0, 3))
    assert entrant.bot(game, turn, torch.full((3, 2), 0.3)).shape == (3, 2)
    cooks = [[CookPolicy(game.kitchen, skill)] * 2 for skill in COOKS.values()]
    step = components.responder.respond(components.profile, Opponents(cooks, [1 / len(cooks)] * len(cooks)))
    assert step.work["steps"] == 2 * 4 * 8
