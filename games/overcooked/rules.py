"""The rules of Overcooked for one kitchen, compiled once and run for B kitchens.

Source: overcooked-ai 1.1.0 (Carroll et al. 2019, arXiv:1910.05789), reproduced step for step, with the `old_dynamics`
of later versions. `tests/games/test_overcooked_traces.py` replays recorded games.

A kitchen is a row of 16-bit numbers: the clock, then (cell, direction, item) of each cook, then the item on each cell,
then the cooking clock of each pot. Cells are numbered x * height + y, so that a cell times the number of channels is
the position of its features in overcooked-ai's (width, height, channels) encoding.

All functions are plain Python. numba compiles them for the CPU and, called from the kernel in cuda.py, for CUDA.
docs/overcooked.md explains why numba was chosen.

Three things made them three times as fast: functions are inlined, because a call passes the whole kitchen; rows are
unsigned, because unsigned indices need no sign test; and the number of cooks is the length of a tuple, which the
compiler knows, so loops over cooks are unrolled.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.numerics.jit import compile_inline, compile_loop

NORTH, SOUTH, EAST, WEST, STAY, INTERACT = range(6)
FLOOR, COUNTER, ONIONS, TOMATOES, DISHES, POT, HATCH = range(7)
NOTHING, ONION, TOMATO, DISH, SOUP = range(5)
"""Items of a cook or a cell. A soup is `SOUP + onions + 4 * tomatoes`: 5 to 16."""
RECIPES = 17
"""Length of a table that is indexed by items."""
INGREDIENTS = 3
"""Ingredients of a full pot."""
URGENT = 40
"""The encoding announces the end when fewer steps than this are left."""
UNLIT = 2**16 - 1
"""The clock of a pot that does not cook: -1, read without sign."""
COOK = 3
"""Numbers that describe a cook: cell, direction, item."""


class Kitchen(NamedTuple):
    """The constants of a layout; see `layouts.compile_layout`."""

    cooks: tuple[int, ...]  # 0, 1, …: the compiler knows the length of a tuple
    terrain: np.ndarray  # (cells,) uint8: FLOOR ... HATCH
    ahead: np.ndarray  # (4, cells) uint16: the cell north, south, east, west of each cell
    goal: np.ndarray  # (6, cells) uint16: where each action leads: a floor cell, or the same cell
    pot_of: np.ndarray  # (cells,) uint16: index of the pot on each cell
    pots: np.ndarray  # (pots,) uint16: the cells of the pots
    counters: np.ndarray  # (counters,) uint16: the cells of the counters
    start: np.ndarray  # (numbers,) int16: the row that a game starts from
    payoff: np.ndarray  # (RECIPES,) float32: payoff of each soup to the team
    cook_time: np.ndarray  # (RECIPES,) uint16: steps
    shaping: np.ndarray  # (3,) float32: for an ingredient put into a pot, a useful dish, a soup taken out
    picture: np.ndarray  # (2, cells * channels) uint8: the encoding of the bare kitchen, calm and urgent
    horizon: int  # steps
    automatic: int  # 1: a full pot starts to cook by itself; 0: a cook has to start it
    height: int  # cells

    @property
    def players(self) -> int:
        """Number of cooks."""
        return len(self.cooks)

    @property
    def channels(self) -> int:
        """Number of features of a cell."""
        return self.picture.shape[1] // self.terrain.size


@compile_inline
def channels(kitchen):
    """Returns the number of features of a cell: five for each cook, and 16 that are shared."""
    return 5 * len(kitchen.cooks) + 16


@compile_inline
def items_of(kitchen):
    """Returns the index of a row where the items on cells begin."""
    return 1 + COOK * len(kitchen.cooks)


@compile_inline
def clocks_of(kitchen):
    """Returns the index of a row where the clocks of pots begin."""
    return items_of(kitchen) + kitchen.terrain.size


@compile_inline
def ingredients(soup):
    """Returns the number of ingredients of a soup."""
    return (soup & 3) + (soup >> 2) - 1


@compile_inline
def pots_in_use(kitchen, row):
    """Returns the number of pots with content that do not wait to be started; a dish for one is useful."""
    items, clocks = items_of(kitchen), clocks_of(kitchen)
    count = 0
    for pot in range(kitchen.pots.size):
        soup = row[items + kitchen.pots[pot]]
        count += (soup != NOTHING) & ((row[clocks + pot] != UNLIT) | (ingredients(soup) < INGREDIENTS))
    return count


@compile_inline
def dish_is_useful(kitchen, row, in_use):
    """Whether there are more pots in use than cooks with a dish, and no dish lies on a counter."""
    if len(kitchen.cooks) != 2:  # overcooked-ai defines it for two cooks only
        return False
    items = items_of(kitchen)
    for counter in range(kitchen.counters.size):
        if row[items + kitchen.counters[counter]] == DISH:
            return False
    dishes = 0
    for cook in range(len(kitchen.cooks)):
        dishes += row[3 + COOK * cook] == DISH
    return dishes < in_use


@compile_inline
def use_pot(kitchen, row, hand, cell):
    """A cook uses a pot: starts it, takes the soup, or adds an ingredient. Returns the shaping reward."""
    item = row[hand]
    place, clock = items_of(kitchen) + cell, clocks_of(kitchen) + kitchen.pot_of[cell]
    soup, idle = row[place], row[clock] == UNLIT
    if item == NOTHING:
        if soup != NOTHING and idle and kitchen.automatic == 0:
            row[clock] = 0
    elif item == DISH:
        if soup != NOTHING and not idle and row[clock] >= kitchen.cook_time[soup]:
            row[hand], row[place], row[clock] = soup, NOTHING, UNLIT
            return kitchen.shaping[2]
    elif item < DISH and idle and (soup == NOTHING or ingredients(soup) < INGREDIENTS):
        row[place] = (soup if soup > SOUP else SOUP) + (1 if item == ONION else 4)  # numba has no max for CUDA
        row[hand] = NOTHING
        return kitchen.shaping[0]
    return np.float32(0)


@compile_inline
def interact(kitchen, row, cook, in_use):
    """A cook uses what it faces. Returns (payoff of the team, shaping reward of the cook)."""
    hand = 3 + COOK * cook
    cell = kitchen.ahead[row[hand - 1], row[hand - 2]]
    place = items_of(kitchen) + cell
    item, terrain = row[hand], kitchen.terrain[cell]
    payoff, shaping = np.float32(0), np.float32(0)
    if terrain == COUNTER:
        if item == NOTHING or row[place] == NOTHING:
            row[hand], row[place] = row[place], item
    elif terrain == POT:
        shaping = use_pot(kitchen, row, hand, cell)
    elif terrain == HATCH:
        if item >= SOUP:
            payoff = kitchen.payoff[item]
            row[hand] = NOTHING
    elif item == NOTHING:
        if terrain == ONIONS:
            row[hand] = ONION
        elif terrain == TOMATOES:
            row[hand] = TOMATO
        elif terrain == DISHES:
            if dish_is_useful(kitchen, row, in_use):
                shaping = kitchen.shaping[1]
            row[hand] = DISH
    return payoff, shaping


@compile_inline
def walk(kitchen, row, actions):
    """Turns cooks in the direction of their actions, and moves them unless any two would collide.

    As in overcooked-ai, a collision (two cooks in one cell, or a swap) stops all cooks.
    """
    for cook in range(len(kitchen.cooks)):
        direction = row[2 + COOK * cook]
        row[2 + COOK * cook] = actions[cook] if actions[cook] < STAY else direction
    for cook in range(len(kitchen.cooks)):
        for mate in range(cook):
            cell, mate_cell = row[1 + COOK * cook], row[1 + COOK * mate]
            goal, mate_goal = kitchen.goal[actions[cook], cell], kitchen.goal[actions[mate], mate_cell]
            if (goal == mate_goal) | ((goal == mate_cell) & (mate_goal == cell)):
                return
    for cook in range(len(kitchen.cooks)):
        row[1 + COOK * cook] = kitchen.goal[actions[cook], row[1 + COOK * cook]]


@compile_inline
def cook_pots(kitchen, row):
    """Advances the clocks of cooking pots."""
    items, clocks = items_of(kitchen), clocks_of(kitchen)
    for pot in range(kitchen.pots.size):
        soup, clock = row[items + kitchen.pots[pot]], row[clocks + pot]
        if kitchen.automatic and (clock == UNLIT) & (ingredients(soup) == INGREDIENTS):
            clock = 0
        row[clocks + pot] = clock + (clock < kitchen.cook_time[soup])


@compile_inline
def step(kitchen, row, actions, shaping):
    """Plays one step of one game in place. Writes shaping (P,); returns (payoff of the team, done).

    A game that is done is reset immediately.
    """
    payoff = np.float32(0)
    in_use = pots_in_use(kitchen, row)  # before any interaction
    for cook in range(len(kitchen.cooks)):
        shaping[cook] = 0
        if actions[cook] == INTERACT:
            value, hint = interact(kitchen, row, cook, in_use)
            payoff += value
            shaping[cook] = hint
    walk(kitchen, row, actions)
    cook_pots(kitchen, row)
    row[0] += 1
    done = row[0] >= kitchen.horizon
    if done:
        for number in range(row.size):
            row[number] = kitchen.start[number]
    return payoff, done


@compile_inline
def draw_item(kitchen, observation, cell, item):
    """Writes the features of an item that is not in a pot, for every seat."""
    feature = cell * channels(kitchen) + 5 * len(kitchen.cooks) + 6
    for seat in range(len(kitchen.cooks)):
        view = observation[seat]
        if item < SOUP:
            view[feature + 6 + (0 if item == DISH else item)] = 1
        else:
            view[feature + 2] = item & 3
            view[feature + 3] = (item >> 2) - 1
            view[feature + 5] = 1


@compile_inline
def draw_pot(kitchen, observation, cell, soup, clock):
    """Writes the features of a pot's content, for every seat."""
    feature = cell * channels(kitchen) + 5 * len(kitchen.cooks) + 6
    lit, time = clock != UNLIT, kitchen.cook_time[soup]
    remainder = time - clock if clock < time else 0
    for seat in range(len(kitchen.cooks)):
        view = observation[seat]
        view[feature + 2 * lit] = soup & 3
        view[feature + 2 * lit + 1] = (soup >> 2) - 1
        view[feature + 4] = remainder
        view[feature + 5] = lit & (remainder == 0)


@compile_inline
def observe(kitchen, row, observation):
    """Writes the lossless encoding of one game into observation (P, cells * channels), each seat's own cook first.

    Channels for P = 2: position of the own cook, position of the other; four for the direction of the own cook, four
    for that of the other; pots, counters, onions, tomatoes, dishes, hatches; onions and tomatoes in pots that are not
    started, in soups, remaining steps to cook, soup ready; dishes, onions, tomatoes; urgency.
    """
    items, clocks, players = items_of(kitchen), clocks_of(kitchen), len(kitchen.cooks)
    bare = kitchen.picture[1 if kitchen.horizon - row[0] < URGENT else 0]
    for seat in range(players):
        view = observation[seat]
        for feature in range(bare.size):
            view[feature] = bare[feature]
        for cook in range(players):
            rank = 0 if cook == seat else (cook + 1 if cook < seat else cook)
            place = row[1 + COOK * cook] * channels(kitchen)
            view[place + rank] = 1
            view[place + players + 4 * rank + row[2 + COOK * cook]] = 1
    for cook in range(players):
        item = row[3 + COOK * cook]
        if item != NOTHING:
            draw_item(kitchen, observation, row[1 + COOK * cook], item)
    for counter in range(kitchen.counters.size):
        cell = kitchen.counters[counter]
        if row[items + cell] != NOTHING:
            draw_item(kitchen, observation, cell, row[items + cell])
    for pot in range(kitchen.pots.size):
        cell = kitchen.pots[pot]
        if row[items + cell] != NOTHING:
            draw_pot(kitchen, observation, cell, row[items + cell], row[clocks + pot])


@compile_loop
def observe_games(kitchen, rows, observation, first, last):
    """Writes the encodings of games `first` to `last` (exclusive)."""
    for game in range(first, last):
        observe(kitchen, rows[game], observation[game])


@compile_loop
def step_games(kitchen, rows, actions, observation, reward, shaping, done, first, last):
    """Steps games `first` to `last` (exclusive): rows (B, numbers), actions (B, P); the other arrays are written."""
    for game in range(first, last):
        payoff, over = step(kitchen, rows[game], actions[game], shaping[game])
        done[game] = over
        for cook in range(len(kitchen.cooks)):
            reward[game, cook] = payoff
        observe(kitchen, rows[game], observation[game])
