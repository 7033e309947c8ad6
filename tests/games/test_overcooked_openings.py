"""Openings of kitchens at different steps of a game."""

import pytest
import torch

from games.overcooked import Overcooked, Staggered
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.rollout.stream import Stream


@pytest.mark.parametrize("after", [0, 2])
def test_one_game_is_cut_short_and_the_copies_are_out_of_step_from_then_on(after):
    """Eight copies of games of eight steps: copy c begins at step c, so one copy ends at each step, and then again."""
    game = Overcooked(horizon=8)
    stream = Stream(game, derive_seeds(0, 8), Staggered(horizon=8, after=after))
    profile = MLPSpec(hidden=[4]).profile(game)
    for _ in range(after):
        done = stream.play(profile, 8)[0].done
        assert done[-1].all()
        assert not done[:-1].any()
    trajectory, _ = stream.play(profile, 24)
    steps, copies = torch.meshgrid(torch.arange(24), torch.arange(8), indexing="ij")
    assert torch.equal(trajectory.done, (steps + copies) % 8 == 7)
    assert torch.equal(trajectory.level[0], torch.arange(8))
    assert torch.equal(stream.game.state()["rows"][:, 0], torch.arange(8).to(torch.int16))


def test_the_clock_is_all_that_differs():
    """The last 40 steps are marked in the observation, and only there an opening looks different."""
    game = Overcooked(horizon=400)
    plain = game.reset(torch.zeros(3, dtype=torch.int64)).observation
    later = game.reset(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 200, 399])).observation
    assert torch.equal(later[:2], plain[:2])
    assert (later[2] != plain[2]).sum() == 2 * game.kitchen.terrain.size
    assert game.step(torch.full((3, 2), 4)).done.tolist() == [False, False, True]


@pytest.mark.parametrize("levels", [torch.tensor([0, 8]), torch.tensor([-1, 0]), torch.zeros(2), torch.zeros(2, 1)])
def test_other_levels_are_refused(levels):
    with pytest.raises(ValueError, match="levels of Overcooked are steps from 0 to 7, int64"):
        Overcooked(horizon=8).reset(torch.zeros(2, dtype=torch.int64), levels)


def test_a_horizon_below_one_is_refused():
    with pytest.raises((Refused, ValueError), match=r"responder\.levels\.horizon must be"):
        Staggered(horizon=0)
