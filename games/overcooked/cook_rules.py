"""What a scripted cook does next: the greedy heuristic, compiled, for a row of `rules` that describes a kitchen.

A cook serves a soup that it carries, plates a soup that cooks, fetches what pots lack, and otherwise steps aside. What
it cannot bring where it belongs it hands over on a counter to a cook who can. It walks a shortest path around the
others. It remembers nothing; where two such cooks could block each other for ever, its choice is random.
"""

import numpy as np

from games.overcooked.cook_needs import (
    count_items,
    count_needs,
    has_room,
    lacks,
    other_regions,
    returns_soups,
    terrain_regions,
    waits_to_start,
)
from games.overcooked.cook_views import read_view
from games.overcooked.rules import (
    COOK,
    DISH,
    HATCH,
    INTERACT,
    NOTHING,
    ONION,
    POT,
    SOUP,
    STAY,
    TOMATO,
    UNLIT,
    items_of,
)
from marl_engine.numerics.jit import compile_loop

HESITATION = 0.25  # probability to wait where another cook may step into the same cell
NOWHERE = -1  # there is no way


@compile_loop
def mark_terrain(kitchen, plan, here, terrain, goals):
    """Marks the cells of a kind that can be used from a region; returns whether there are any."""
    marked = False
    for cell in range(kitchen.terrain.size):
        if (kitchen.terrain[cell] == terrain) & (plan.touch[cell] & here != 0):
            goals[cell] = 1
            marked = True
    return marked


@compile_loop
def mark_counters(kitchen, plan, row, here, there, item, goals):
    """Marks counters with an item that can be used from two regions, `there` being a set; returns whether there are
    any. A soup of any kind counts as SOUP.
    """
    marked = False
    for number in range(kitchen.counters.size):
        cell = kitchen.counters[number]
        content = min(np.int64(row[items_of(kitchen) + cell]), SOUP)
        if (content == item) & (plan.touch[cell] & here != 0) & (plan.touch[cell] & there != 0):
            goals[cell] = 1
            marked = True
    return marked


@compile_loop
def mark_pots(kitchen, plan, row, here, item, goals):
    """Marks the pots in a region that an item is for: those that lack it, that cook, or that wait to be started."""
    marked, clocks = False, items_of(kitchen) + kitchen.terrain.size
    for pot in range(kitchen.pots.size):
        cell, lit = kitchen.pots[pot], row[clocks + pot] != UNLIT
        if item == DISH:
            useful = lit
        elif item == NOTHING:
            useful = waits_to_start(kitchen, plan, row, pot)
        else:
            useful = lacks(kitchen, plan, row, pot, item) > 0
        if useful & (plan.touch[cell] & here != 0):
            goals[cell] = 1
            marked = True
    return marked


@compile_loop
def mark_fetch(kitchen, plan, row, here, item, can_use, goals):
    """Marks where an item can be taken: counters count only for a cook who can use it."""
    marked = False
    if plan.sources[item] >= 0:
        marked = mark_terrain(kitchen, plan, here, plan.sources[item], goals)
    if can_use:
        marked |= mark_counters(kitchen, plan, row, here, here, item, goals)
    return marked


@compile_loop
def search(kitchen, row, cook, around, goals, queue, first):
    """Returns the first action on a shortest path to use a marked cell, or NOWHERE; optionally around other cooks."""
    for cell in range(first.size):
        first[cell] = NOWHERE
    for mate in range(len(kitchen.cooks)):
        if around & (mate != cook):
            first[row[1 + COOK * mate]] = STAY
    start = np.int64(row[1 + COOK * cook])
    first[start], queue[0], length, place = STAY, start, 1, 0
    while place < length:
        cell = queue[place]
        place += 1
        for direction in range(4):
            if goals[kitchen.ahead[direction, cell]]:
                if cell != start:
                    return first[cell]
                return INTERACT if row[2 + COOK * cook] == direction else direction
        for direction in range(4):
            after = np.int64(kitchen.goal[direction, cell])
            if first[after] == NOWHERE:
                first[after] = direction if cell == start else first[cell]
                queue[length] = after
                length += 1
    return NOWHERE


@compile_loop
def mark_empty_hand(kitchen, plan, row, cook, here, goals):
    """Marks what a cook with nothing in its hands goes for; returns whether there is anything."""
    serves = terrain_regions(kitchen, plan, HATCH) & here != 0
    if serves and mark_counters(kitchen, plan, row, here, here, SOUP, goals):
        return True
    if mark_pots(kitchen, plan, row, here, NOTHING, goals):
        return True
    cooks = terrain_regions(kitchen, plan, POT) & here != 0
    if not cooks and returns_soups(kitchen, plan):
        there = terrain_regions(kitchen, plan, POT) & other_regions(kitchen, plan, row, cook)
        if not has_room(kitchen, plan, row, here, there):
            return False  # so as not to fill its hands, either
    for patience in range(2):  # first what nobody else brings; then, in case they do not, what a cook at the pots needs
        for item in (DISH, ONION, TOMATO):
            brought = count_items(kitchen, row, cook, item, not cooks) if patience == 0 else 0
            needed = (count_needs(kitchen, plan, row, item) > brought) & (cooks | (patience == 0))
            if needed and mark_fetch(kitchen, plan, row, here, item, cooks, goals):
                return True
    return False


@compile_loop
def mark_full_hand(kitchen, plan, row, cook, here, item, goals):
    """Marks where a cook brings what it holds; returns whether there is such a place."""
    if item >= SOUP:
        if mark_terrain(kitchen, plan, here, HATCH, goals):
            return True
        there = terrain_regions(kitchen, plan, HATCH)
    else:
        if mark_pots(kitchen, plan, row, here, item, goals):
            return True
        there = terrain_regions(kitchen, plan, POT)
    if there & here == 0:  # hand it over
        there &= other_regions(kitchen, plan, row, cook)
        if (item < SOUP) & (not has_room(kitchen, plan, row, here, there)):
            return False
        return mark_counters(kitchen, plan, row, here, there, NOTHING, goals)
    for other in (ONION, TOMATO, DISH):  # put it down if a pot needs something else
        if other != item and count_needs(kitchen, plan, row, other) > 0:
            return mark_counters(kitchen, plan, row, here, here, NOTHING, goals)
    return False


@compile_loop
def write_chances(action, near, chances):
    """Writes the probabilities (6,) of actions: the given one, except that a cook hesitates near another one.

    A cook without a way waits, or moves at random so as not to stand in the way.
    """
    for each in range(len(chances)):
        chances[each] = 0
    if action == NOWHERE:
        chances[:4] = 0.125
        chances[STAY] = 0.5
    elif near:
        chances[action] = 1 - HESITATION
        chances[STAY] = HESITATION
    else:
        chances[action] = 1


@compile_loop
def plan_action(kitchen, plan, row, cook, scratch, chances):
    """Writes the probabilities (6,) of the actions of a cook in one kitchen. Scratch is (3, cells) int64."""
    goals, here = scratch[0], plan.region[row[1 + COOK * cook]]
    goals[:] = 0
    item = np.int64(row[3 + COOK * cook])
    if item == NOTHING:
        useful = mark_empty_hand(kitchen, plan, row, cook, here, goals)
    else:
        useful = mark_full_hand(kitchen, plan, row, cook, here, item, goals)
    action, near = NOWHERE, False
    if useful:
        action = search(kitchen, row, cook, True, goals, scratch[1], scratch[2])
    if (action != NOWHERE) & (action < STAY):
        target = np.int64(kitchen.goal[action, row[1 + COOK * cook]])
        for mate in range(len(kitchen.cooks)):
            for direction in range(4):
                near |= (mate != cook) & (kitchen.goal[direction, row[1 + COOK * mate]] == target)
    write_chances(action, near, chances)


@compile_loop
def plan_games(kitchen, plan, rows, scratch, chances):
    """Writes the probabilities (N, P, 6) of the actions of all cooks in kitchens with rows (N, numbers)."""
    for game in range(rows.shape[0]):
        for cook in range(len(kitchen.cooks)):
            plan_action(kitchen, plan, rows[game], cook, scratch, chances[game, cook])


@compile_loop
def plan_views(kitchen, plan, views, row, scratch, chances):
    """Writes the probabilities (N, 6) of the actions of the own cook in views (N, cells * channels). Row is scratch."""
    for number in range(views.shape[0]):
        read_view(kitchen, views[number], row)
        plan_action(kitchen, plan, row, 0, scratch, chances[number])
