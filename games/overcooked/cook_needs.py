"""What kitchens lack, as scripted cooks count it, and which parts of a kitchen its cooks can reach; compiled."""

from typing import NamedTuple

import numpy as np

from games.overcooked.rules import COOK, DISH, HATCH, INGREDIENTS, NOTHING, ONION, POT, TOMATO, UNLIT, items_of
from marl_engine.numerics.jit import compile_loop


class Plan(NamedTuple):
    """What cooks know about a kitchen: its regions are connected parts of its floor, bit r of a set is region r."""

    region: np.ndarray  # (cells,) int64: the set of the region of a floor cell, 0 of others
    touch: np.ndarray  # (cells,) int64: the regions from which a cell can be used
    sources: np.ndarray  # (4,) int64: terrain that provides an item, by item; -1: none
    onions: int  # of the soup that is cooked
    tomatoes: int


@compile_loop
def lacks(kitchen, plan, row, pot, item):
    """Returns how many onions or tomatoes a pot lacks. One with other contents is filled with anything."""
    clocks = items_of(kitchen) + kitchen.terrain.size
    soup = row[items_of(kitchen) + kitchen.pots[pot]]
    if row[clocks + pot] != UNLIT:
        return 0
    onions, tomatoes = 0, 0
    if soup != NOTHING:
        onions, tomatoes = np.int64(soup & 3), np.int64(soup >> 2) - 1
    if (onions > plan.onions) | (tomatoes > plan.tomatoes):
        return INGREDIENTS - onions - tomatoes if kitchen.automatic else 0
    return plan.onions - onions if item == ONION else plan.tomatoes - tomatoes


@compile_loop
def waits_to_start(kitchen, plan, row, pot):
    """Whether a pot has all that it will get, and a cook has to start it."""
    soup, clocks = row[items_of(kitchen) + kitchen.pots[pot]], items_of(kitchen) + kitchen.terrain.size
    if (kitchen.automatic != 0) | (soup == NOTHING) | (row[clocks + pot] != UNLIT):
        return False
    return lacks(kitchen, plan, row, pot, ONION) + lacks(kitchen, plan, row, pot, TOMATO) == 0


@compile_loop
def terrain_regions(kitchen, plan, terrain):
    """Returns the set of regions from which cells of a kind can be used."""
    regions = np.int64(0)
    for cell in range(kitchen.terrain.size):
        if kitchen.terrain[cell] == terrain:
            regions |= plan.touch[cell]
    return regions


@compile_loop
def count_items(kitchen, row, cook, item, on_counters):
    """Returns how many of an item the other cooks hold and, optionally, counters."""
    count = 0
    for mate in range(len(kitchen.cooks)):
        count += (mate != cook) & (row[3 + COOK * mate] == item)
    if on_counters:
        for number in range(kitchen.counters.size):
            count += row[items_of(kitchen) + kitchen.counters[number]] == item
    return count


@compile_loop
def count_needs(kitchen, plan, row, item):
    """Returns how many ingredients of a kind pots lack, or how many dishes soups need."""
    count, clocks = 0, items_of(kitchen) + kitchen.terrain.size
    for pot in range(kitchen.pots.size):
        if item == DISH:
            count += row[clocks + pot] != UNLIT
        else:
            count += lacks(kitchen, plan, row, pot, item)
    return count


@compile_loop
def returns_soups(kitchen, plan):
    """Whether no region has both a pot and a hatch, so that every soup is handed over."""
    return terrain_regions(kitchen, plan, POT) & terrain_regions(kitchen, plan, HATCH) == 0


@compile_loop
def other_regions(kitchen, plan, row, cook):
    """Returns the set of regions in which the other cooks are."""
    others = np.int64(0)
    for mate in range(len(kitchen.cooks)):
        if mate != cook:
            others |= plan.region[row[1 + COOK * mate]]
    return others


@compile_loop
def has_room(kitchen, plan, row, here, there):
    """Whether an ingredient can be handed over between two regions, without taking the last way back of soups."""
    empty, counters = 0, 0
    for number in range(kitchen.counters.size):
        cell = kitchen.counters[number]
        if (plan.touch[cell] & here != 0) & (plan.touch[cell] & there != 0):
            counters += 1
            empty += row[items_of(kitchen) + cell] == NOTHING
    return empty > (returns_soups(kitchen, plan) & (counters > 1))
