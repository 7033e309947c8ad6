"""Facts about the kitchen that can be checked by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from games.overcooked import Overcooked
from marl_engine.types import Turn

LETTERS = "NSEW.I"  # north, south, east, west, stay, interact
GALLEY = "XPXXX\nO1 2D\nXXSXX"
DONE = -5  # the channel of soups that are done


def open_kitchens(game: Overcooked, games: int = 1) -> Overcooked:
    game.reset(torch.arange(games))
    return game


def play_moves(game: Overcooked, *cooks: str) -> list[Turn]:
    """Returns the turns of one game, from a string of LETTERS for each cook, who stays when it is used up."""
    length = max(len(moves) for moves in cooks)
    joint = zip(*(moves.ljust(length, ".") for moves in cooks), strict=True)
    return [game.step(torch.tensor([[LETTERS.index(move) for move in moves]])) for moves in joint]


def soups_done(turn: Turn) -> int:
    return int(turn.observation[0, 0, ..., DONE].sum())


def places(turn: Turn) -> list[list[int]]:
    """Returns the position [x, y] of each seat in its own observation."""
    return [observation[..., 0].nonzero()[0].tolist() for observation in turn.observation[0]]


def test_swap_of_two_cooks_is_refused() -> None:
    """Both turn in their direction, and neither moves."""
    game = open_kitchens(Overcooked("XPXSX\nO12 D\nXXXXX"))
    turn = play_moves(game, "E", "W")[-1]
    assert places(turn) == [[1, 1], [2, 1]]
    east, west = turn.observation[0, 0, 1, 1, 4], turn.observation[0, 1, 2, 1, 5]
    assert (east, west) == (1, 1)


def test_cook_may_follow_into_a_cell_that_is_being_left() -> None:
    turn = play_moves(open_kitchens(Overcooked("XPXSX\nO12 D\nXXXXX")), "E", "E")[-1]
    assert places(turn) == [[2, 1], [3, 1]]


def test_full_pot_lights_itself_and_is_ready_after_twenty_steps() -> None:
    """The third onion is added at step 12, the first of the twenty."""
    turns = play_moves(open_kitchens(Overcooked(GALLEY, old_dynamics=True)), "WINI" * 3 + "." * 20, "")
    assert [turn.shaping[0].tolist() for turn in turns[:12]] == ([[0.0, 0.0]] * 3 + [[3.0, 0.0]]) * 3
    assert [soups_done(turn) for turn in turns] == [0] * 30 + [1] * 2


def test_full_pot_waits_to_be_lit() -> None:
    """Without `old_dynamics`, an empty hand starts it at step 13."""
    turns = play_moves(open_kitchens(Overcooked(GALLEY, old_dynamics=False)), "WINI" * 3 + "I" + "." * 20, "")
    assert [soups_done(turn) for turn in turns] == [0] * 31 + [1] * 2


def test_useless_dish_earns_no_shaping() -> None:
    turns = play_moves(open_kitchens(Overcooked(GALLEY)), "", "EI")
    assert turns[-1].shaping.tolist() == [[0.0, 0.0]]


def test_useful_dish_earns_shaping() -> None:
    """A dish for a pot with at least one ingredient."""
    turns = play_moves(open_kitchens(Overcooked(GALLEY)), "WINI", "....EI")
    assert turns[-1].shaping.tolist() == [[0.0, 3.0]]


def test_soup_of_one_onion_pays_four() -> None:
    """Fetch an onion, put it into the pot, start it; fetch a dish, wait, take the soup, serve it."""
    game = open_kitchens(Overcooked("cramped_room_o_3orders"))
    turns = play_moves(game, "NWI" + "ENII" + "WSSI" + "NEN" + "." * 14 + "I" + "SESI", "E")
    assert [turn.reward[0].tolist() for turn in turns] == [[0.0, 0.0]] * (len(turns) - 1) + [[4.0, 4.0]]
    assert turns[-5].shaping.tolist() == [[5.0, 0.0]]


def test_unordered_soup_pays_nothing() -> None:
    """The same in a kitchen where only soups of three onions are ordered."""
    turns = play_moves(
        open_kitchens(Overcooked("cramped_room", old_dynamics=False)), "NWIENIIWSSINEN..............ISESI", "E"
    )
    assert turns[-5].shaping.tolist() == [[5.0, 0.0]]
    assert sum(turn.reward.sum() for turn in turns) == 0


@pytest.mark.parametrize("layout", ["cramped_room", "counter_circuit", "multiplayer_schelling"])
def test_one_kitchen_equals_its_row_among_many(layout: str) -> None:
    many, one, row = open_kitchens(Overcooked(layout), 64), open_kitchens(Overcooked(layout)), 37
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        actions = torch.randint(6, (64, many.players), generator=generator)
        of_many, of_one = many.step(actions), one.step(actions[row : row + 1])
        assert torch.equal(many.state()["rows"][row], one.state()["rows"][0])
        pairs = [pair for pair in zip(of_many, of_one, strict=True) if isinstance(pair[0], Tensor)]
        assert all(torch.equal(several[row], single[0]) for several, single in pairs)


def test_orders_that_do_not_fill_a_pot_need_the_new_dynamics() -> None:
    with pytest.raises(ValueError, match="oo, o of layout 'cramped_room_o_3orders' can never be cooked"):
        Overcooked("cramped_room_o_3orders", old_dynamics=True)


@pytest.mark.parametrize(("layout", "lights_itself"), [("cramped_room", 1), ("cramped_room_o_3orders", 0)])
def test_pots_light_themselves_by_default_where_every_order_fills_them(layout: str, lights_itself: int) -> None:
    assert Overcooked(layout).kitchen.automatic == lights_itself


def test_a_restored_state_continues_alike() -> None:
    game = open_kitchens(Overcooked(GALLEY))
    play_moves(game, "WINIWI", "EI")
    state, rest = game.state(), ("NIWINI", "W.I")
    first = play_moves(game, *rest)[-1].observation
    game.restore(state)
    assert np.array_equal(play_moves(game, *rest)[-1].observation, first)


@pytest.mark.parametrize("action", [-1, 6])
def test_unknown_action_is_refused_and_changes_nothing(action: int) -> None:
    game = open_kitchens(Overcooked(), 3)
    before = game.state()["rows"]
    with pytest.raises(ValueError, match=f"from 0 to 5; there is {action} among them"):
        game.step(torch.tensor([[0, 1], [5, 4], [2, action]]))
    assert torch.equal(game.state()["rows"], before)
