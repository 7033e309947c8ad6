"""The rules of Overcooked for one kitchen, as numbers: compiled once, run for B kitchens side by side.

Source: package overcooked-ai 1.1.0 (Carroll et al. 2019, arXiv:1910.05789), step for step, with the
`old_dynamics` of its later versions. `tests/test_overcooked_traces.py` replays games recorded from it.

A kitchen is one row of int16: the clock, then (cell, facing, held) of each cook, then what lies on each
cell, then the cooking clock of each pot. Cells are numbered x * height + y, so that a cell times the
number of channels is where its features start in the reference's (width, height, channels) encoding.

Numba was chosen over Warp: `benchmarks/overcooked_compilers.py` has both; see docs/overcooked.md.
Every function here is plain Python that numba compiles for the processor, and, called from the
kernel in kernel.py, for CUDA: there is one source of the rules.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.cores import compiled

NORTH, SOUTH, EAST, WEST, STAY, INTERACT = range(6)
FLOOR, COUNTER, ONIONS, TOMATOES, DISHES, POT, HATCH = range(7)
NOTHING, ONION, TOMATO, DISH, SOUP = range(5)
"""What a hand or a cell holds. A soup is `SOUP + onions + 4 * tomatoes`: 5 to 16."""
RECIPES = 17
"""Length of a table that is indexed by what is held."""
INGREDIENTS = 3
"""How many a soup takes."""
URGENT = 40
"""The encoding announces the end when fewer steps than this are left."""
COOK = 3
"""Numbers that describe a cook: cell, facing, held."""


class Kitchen(NamedTuple):
    """What does not change while a game is played; `layouts.compiled` makes it from a drawing."""

    terrain: np.ndarray  # (cells,) uint8: FLOOR ... HATCH
    pot_of: np.ndarray  # (cells,) int16: which pot stands here
    pots: np.ndarray  # (pots,) int16: the cells of the pots
    counters: np.ndarray  # (counters,) int16: the cells of the counters
    start: np.ndarray  # (numbers,) int16: the row that a game starts from
    payoff: np.ndarray  # (RECIPES,) float32: what each soup earns the team
    cook_time: np.ndarray  # (RECIPES,) int16: steps
    shaping: np.ndarray  # (3,) float32: hints for an ingredient potted, a useful dish, a soup dished up
    picture: np.ndarray  # (2, cells * channels) uint8: the encoding of the bare kitchen, calm and urgent
    move: np.ndarray  # (6,) int16: the step to the cell that each action makes for
    players: int
    channels: int
    horizon: int  # steps
    automatic: int  # 1: a full pot starts to cook by itself; 0: a cook has to light it


@compiled
def ingredients(soup):
    """How many ingredients a soup has."""
    return (soup & 3) + (soup >> 2) - 1


@compiled
def pots_in_use(kitchen, row):
    """Pots that hold something and do not wait to be lit; a dish fetched for one of them is useful."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.size
    count = 0
    for pot in range(kitchen.pots.size):
        held = row[items + kitchen.pots[pot]]
        if held != NOTHING and (row[clocks + pot] >= 0 or ingredients(held) < INGREDIENTS):
            count += 1
    return count


@compiled
def dish_is_useful(kitchen, row, in_use):
    """Whether there are more pots in use than dishes in hands, and no dish lies about."""
    if kitchen.players != 2:  # the reference defines it for two cooks alone
        return False
    items = 1 + COOK * kitchen.players
    for counter in range(kitchen.counters.size):
        if row[items + kitchen.counters[counter]] == DISH:
            return False
    carried = 0
    for cook in range(kitchen.players):
        carried += row[3 + COOK * cook] == DISH
    return carried < in_use


@compiled
def use_pot(kitchen, row, hand, cell):
    """A cook faces a pot: light it, dish up, or add an ingredient. Returns the shaping reward."""
    held = row[hand]
    item = 1 + COOK * kitchen.players + cell
    clock = 1 + COOK * kitchen.players + kitchen.terrain.size + kitchen.pot_of[cell]
    soup, idle = row[item], row[clock] < 0
    if held == NOTHING:
        if soup != NOTHING and idle and kitchen.automatic == 0:
            row[clock] = 0
    elif held == DISH:
        if soup != NOTHING and not idle and row[clock] >= kitchen.cook_time[soup]:
            row[hand], row[item], row[clock] = soup, NOTHING, -1
            return kitchen.shaping[2]
    elif held < DISH and idle and (soup == NOTHING or ingredients(soup) < INGREDIENTS):
        row[item] = max(soup, SOUP) + (1 if held == ONION else 4)
        row[hand] = NOTHING
        return kitchen.shaping[0]
    return np.float32(0)


@compiled
def interact(kitchen, row, cook, in_use):
    """One cook uses what it faces. Returns (payoff to the team, shaping reward of the cook)."""
    hand = 3 + COOK * cook
    cell = row[hand - 2] + kitchen.move[row[hand - 1]]
    item = 1 + COOK * kitchen.players + cell
    held, terrain = row[hand], kitchen.terrain[cell]
    payoff, shaping = np.float32(0), np.float32(0)
    if terrain == COUNTER:
        if held == NOTHING or row[item] == NOTHING:
            row[hand], row[item] = row[item], held
    elif terrain == POT:
        shaping = use_pot(kitchen, row, hand, cell)
    elif terrain == HATCH:
        if held >= SOUP:
            payoff = kitchen.payoff[held]
            row[hand] = NOTHING
    elif held == NOTHING:
        if terrain == ONIONS:
            row[hand] = ONION
        elif terrain == TOMATOES:
            row[hand] = TOMATO
        elif terrain == DISHES:
            if dish_is_useful(kitchen, row, in_use):
                shaping = kitchen.shaping[1]
            row[hand] = DISH
    return payoff, shaping


@compiled
def walk(kitchen, row, actions):
    """Cooks turn to where they want to go, and go there unless any two of them would collide.

    As in the reference, a collision anywhere (one cell for two, or a swap) stops every cook.
    """
    for cook in range(kitchen.players):
        facing = row[2 + COOK * cook]
        row[2 + COOK * cook] = actions[cook] if actions[cook] < STAY else facing
    for cook in range(kitchen.players):
        for other in range(cook):
            here, there = row[1 + COOK * cook], row[1 + COOK * other]
            mine = destination(kitchen, here, actions[cook])
            yours = destination(kitchen, there, actions[other])
            if mine == yours or (mine == there and yours == here):
                return
    for cook in range(kitchen.players):
        row[1 + COOK * cook] = destination(kitchen, row[1 + COOK * cook], actions[cook])


@compiled
def destination(kitchen, cell, action):
    """The cell that an action leads to: its own, unless it steps onto the floor."""
    ahead = cell + kitchen.move[action]
    return ahead if kitchen.terrain[ahead] == FLOOR else cell


@compiled
def cook_pots(kitchen, row):
    """One step of the fire."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.size
    for pot in range(kitchen.pots.size):
        soup = row[items + kitchen.pots[pot]]
        if soup != NOTHING:
            if kitchen.automatic and row[clocks + pot] < 0 and ingredients(soup) == INGREDIENTS:
                row[clocks + pot] = 0
            if 0 <= row[clocks + pot] < kitchen.cook_time[soup]:
                row[clocks + pot] += 1


@compiled
def step(kitchen, row, actions, shaping):
    """One step of one game, in place. Writes shaping (P,); returns (payoff to the team, done).

    A game that is done starts anew at once.
    """
    payoff = np.float32(0)
    in_use = pots_in_use(kitchen, row)  # before anybody touches one
    for cook in range(kitchen.players):
        shaping[cook] = 0
        if actions[cook] == INTERACT:
            earned, hint = interact(kitchen, row, cook, in_use)
            payoff += earned
            shaping[cook] = hint
    walk(kitchen, row, actions)
    cook_pots(kitchen, row)
    row[0] += 1
    done = row[0] >= kitchen.horizon
    if done:
        for number in range(row.size):
            row[number] = kitchen.start[number]
    return payoff, done


@compiled
def draw_item(kitchen, seen, cell, held, clock):
    """The features of a thing on a cell, for every seat. `clock` is -2 off the fire, -1 in an unlit pot."""
    feature = cell * kitchen.channels + 5 * kitchen.players + 6
    for seat in range(kitchen.players):
        mine = seen[seat]
        if held < SOUP:
            mine[feature + 6 + (0 if held == DISH else held)] = 1
        else:
            soup = feature if clock == -1 else feature + 2
            mine[soup] = held & 3
            mine[soup + 1] = (held >> 2) - 1
            left = kitchen.cook_time[held] - clock if clock >= 0 else 0
            mine[feature + 4] = left
            mine[feature + 5] = clock != -1 and left <= 0


@compiled
def observe(kitchen, row, seen):
    """The lossless encoding of one game into seen (P, cells * channels), each seat's own cook first.

    Channels, P = 2: own place, other's place, own facing 4, other's facing 4, pots, counters, onions,
    tomatoes, dishes, hatches; onions and tomatoes in unlit pots, in soups, steps to cook, soup done;
    dishes, onions, tomatoes; urgency.
    """
    players = kitchen.players
    items = 1 + COOK * players
    clocks = items + kitchen.terrain.size
    bare = kitchen.picture[1 if kitchen.horizon - row[0] < URGENT else 0]
    for seat in range(players):
        mine = seen[seat]
        for i in range(bare.size):
            mine[i] = bare[i]
        for cook in range(players):
            rank = 0 if cook == seat else (cook + 1 if cook < seat else cook)
            at = row[1 + COOK * cook] * kitchen.channels
            mine[at + rank] = 1
            mine[at + players + 4 * rank + row[2 + COOK * cook]] = 1
    for cook in range(players):
        if row[3 + COOK * cook] != NOTHING:
            draw_item(kitchen, seen, row[1 + COOK * cook], row[3 + COOK * cook], -2)
    for counter in range(kitchen.counters.size):
        held = row[items + kitchen.counters[counter]]
        if held != NOTHING:
            draw_item(kitchen, seen, kitchen.counters[counter], held, -2)
    for pot in range(kitchen.pots.size):
        soup = row[items + kitchen.pots[pot]]
        if soup != NOTHING:
            draw_item(kitchen, seen, kitchen.pots[pot], soup, row[clocks + pot])


@compiled
def observe_games(kitchen, rows, seen, first, last):
    """Encodings of games `first` to `last` (excluded)."""
    for game in range(first, last):
        observe(kitchen, rows[game], seen[game])


@compiled
def step_games(kitchen, rows, actions, seen, reward, shaping, done, first, last):
    """Steps games `first` to `last` (excluded): rows (B, numbers), actions (B, P), the rest is written."""
    for game in range(first, last):
        payoff, over = step(kitchen, rows[game], actions[game], shaping[game])
        done[game] = over
        reward[game, :] = payoff
        observe(kitchen, rows[game], seen[game])
