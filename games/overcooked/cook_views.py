"""Reads a kitchen from what a cook observes, so that scripted cooks need to know no more than learners."""

import numpy as np

from games.overcooked.rules import COOK, DISH, NOTHING, ONION, POT, SOUP, TOMATO, UNLIT, channels, items_of
from marl_engine.numerics.jit import compile_loop


@compile_loop
def read_item(view, feature, pot):
    """Returns the item that features of a cell describe; `feature` is the place of those of unlit pots."""
    onions, tomatoes = np.int64(view[feature + 2]), np.int64(view[feature + 3])
    if pot:
        onions += view[feature]
        tomatoes += view[feature + 1]
    if onions + tomatoes > 0:
        return SOUP + onions + 4 * tomatoes
    for number, item in enumerate((DISH, ONION, TOMATO)):
        if view[feature + 6 + number]:
            return item
    return NOTHING


@compile_loop
def read_view(kitchen, view, row):
    """Writes the row that a view (cells * channels) encodes, with the own cook as the first one; see `rules.observe`.

    The clock is not encoded, and stays as it is.
    """
    players, width, items = len(kitchen.cooks), channels(kitchen), items_of(kitchen)
    clocks = items + kitchen.terrain.size
    for cell in range(kitchen.terrain.size):
        place = cell * width
        feature = place + 5 * players + 6
        pot = kitchen.terrain[cell] == POT
        item = read_item(view, feature, pot)
        row[items + cell] = item
        if pot:
            lit = view[feature + 2] + view[feature + 3] > 0
            row[clocks + kitchen.pot_of[cell]] = kitchen.cook_time[item] - view[feature + 4] if lit else UNLIT
        for cook in range(players):
            if view[place + cook]:
                row[1 + COOK * cook], row[3 + COOK * cook] = cell, item
                row[items + cell] = NOTHING
                for direction in range(4):
                    if view[place + players + 4 * cook + direction]:
                        row[2 + COOK * cook] = direction
