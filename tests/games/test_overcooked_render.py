"""Pictures of kitchens show every state, each item in its own tile."""

import numpy as np
import pytest
import torch

from games.overcooked import Overcooked, layouts, rules
from games.overcooked.render import SCALE, draw

SOUPS = [
    rules.SOUP + onions + 4 * tomatoes for onions in range(4) for tomatoes in range(4) if 1 <= onions + tomatoes <= 3
]


@pytest.fixture
def game() -> Overcooked:
    return Overcooked("cramped_room")


def picture(game: Overcooked, *, scale: int = SCALE, **numbers: int) -> np.ndarray:
    """Returns the picture of an initial state with some numbers changed: hand, direction, clock, item (on a counter),
    soup and fire (of the pot).
    """
    row = game.kitchen.start.copy()
    items = 1 + rules.COOK * game.players
    place = {
        "clock": 0,
        "direction": 2,
        "hand": 3,
        "item": items + game.kitchen.counters[1],
        "soup": items + game.kitchen.pots[0],
        "fire": len(row) - 1,
    }
    for name, number in numbers.items():
        row[place[name]] = number
    return draw(game.kitchen, row, scale=scale)


def changed_tiles(before: np.ndarray, after: np.ndarray, height: int) -> set[int]:
    """Returns the cells whose pixels differ, without the strip."""
    differ = (before != after).any(-1)[: height * SCALE]
    y, x = np.nonzero(differ)
    return set((x // SCALE * height + y // SCALE).tolist())


def distinct(frames: list[np.ndarray]) -> int:
    """Returns the number of different frames."""
    return len({frame.tobytes() for frame in frames})


@pytest.mark.parametrize("layout", layouts.names())
def test_every_layout_is_drawn_with_room_for_a_caption(layout):
    game = Overcooked(layout)
    width, height, _ = game.observation_shape
    frame = game.render()
    assert frame.dtype == np.uint8
    assert frame.shape[1:] == (width * SCALE, 3)
    assert height * SCALE < frame.shape[0] < (height + 1) * SCALE


@pytest.mark.parametrize("scale", [16, 33, 96])
def test_a_picture_grows_with_its_scale(game, scale):
    width, height, _ = game.observation_shape
    assert picture(game, scale=scale).shape == (height * scale + 2 * round(0.3 * scale), width * scale, 3)


def test_a_cook_that_moves_repaints_the_tile_it_leaves_and_the_one_it_enters(game):
    cook, before = int(game.rows[0, 1]), game.render()
    game.step(torch.tensor([[rules.EAST, rules.STAY]]))
    assert game.rows[0, 1] == cook + game.kitchen.height
    assert changed_tiles(before, game.render(), game.kitchen.height) == {cook, cook + game.kitchen.height}


def test_copies_differ_by_their_own_state(game):
    game.reset(torch.zeros(2, dtype=torch.int64))
    game.step(torch.tensor([[rules.EAST, rules.STAY], [rules.STAY, rules.STAY]]))
    assert changed_tiles(game.render(0), game.render(1), game.kitchen.height)


@pytest.mark.parametrize("place", ["hand", "item", "soup"])
def test_all_things_and_all_soups_look_different(game, place):
    items = SOUPS if place == "soup" else [rules.ONION, rules.TOMATO, rules.DISH, *SOUPS]
    assert distinct([picture(game, **{place: item}) for item in [rules.NOTHING, *items]]) == len(items) + 1


def test_directions_look_different_with_and_without_load(game):
    assert distinct([picture(game, direction=way, hand=item) for way in range(4) for item in (0, rules.ONION)]) == 8


def test_cooks_look_different(game):
    row = game.kitchen.start.copy()
    row[[1, 4]] = row[[4, 1]]
    swapped = draw(game.kitchen, row)
    assert changed_tiles(picture(game), swapped, game.kitchen.height) == {int(row[1]), int(row[4])}


def test_a_pot_tells_waiting_from_every_step_of_cooking_and_from_ready(game):
    soup = rules.SOUP + 3
    time = int(game.kitchen.cook_time[soup])
    frames = [picture(game, soup=soup, fire=fire) for fire in range(-1, time + 1)]
    assert distinct(frames) == time + 2
    for other in frames[:-1]:
        assert np.count_nonzero((frames[-1] != other).any(-1)) > SCALE**2 / 8
        assert changed_tiles(frames[-1], other, game.kitchen.height) == {int(game.kitchen.pots[0])}


def test_the_strip_shows_the_clock_and_the_caption(game):
    top = game.kitchen.height * SCALE
    start, later = game.render(), picture(game, clock=200)
    assert np.array_equal(start[:top], later[:top])
    half = later.shape[1] // 2
    assert (later[top, :half] == later[top, 0]).all()
    assert (later[top, half:] != later[top, 0]).any(-1).all()
    game.step(torch.full((1, 2), rules.STAY))
    assert not np.array_equal(start[top + 5 :], game.render()[top + 5 :])
    assert np.array_equal(game.render(), game.render(caption="step 1"))
    assert not np.array_equal(game.render(), game.render(caption="score 20"))


def test_a_long_caption_keeps_its_margin(game):
    frame = game.render(caption="step 120 · score 60 · " * 4)
    below = frame[game.kitchen.height * SCALE + 5 :]
    assert (below[:, -8:] == below[0, 0]).all()
    assert (below != below[0, 0]).any()


def test_a_picture_is_its_readers_to_change(game):
    frame = game.render()
    frame[:] = 0
    assert game.render().any()
