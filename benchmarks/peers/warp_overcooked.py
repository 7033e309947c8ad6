"""The rules of games/overcooked/rules.py as a Warp kernel: function for function, to compare the compilers.

Run by `benchmarks/overcooked_compilers.py` with the Python of that package:

    warp_overcooked.py FOLDER SECONDS   checks against the arrays in FOLDER/game.npz, then measures the speed
    warp_overcooked.py FOLDER           takes one step, and tells the time of the clock after it

Compiled kernels are kept in FOLDER. Prints one line of JSON. See rules.py for what the numbers in a row mean.

It differs in one thing: an observation is an array of cells, each a vector of all its channels, and therefore
for two cooks alone. Warp copies such vectors whole; copying byte by byte made the whole step nine times slower.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import warp as wp

STAY, INTERACT = 4, 5
FLOOR, COUNTER, ONIONS, TOMATOES, DISHES, POT, HATCH = range(7)
NOTHING, ONION, TOMATO, DISH, SOUP = range(5)
INGREDIENTS = 3
URGENT = 40
COOK = 3

BATCHES = (1024, 4096, 16384)
THREADS = (1, 2)
DRAWS = 32  # joint actions drawn in advance, played in a circle

wp.set_module_options({"enable_backward": False})
CHANNELS = 26
Cell = wp.types.vector(length=CHANNELS, dtype=wp.uint8)
Row = wp.array(dtype=wp.int16)


@wp.struct
class Kitchen:
    """What does not change while a game is played; see rules.Kitchen."""

    terrain: wp.array(dtype=wp.uint8)
    pot_of: wp.array(dtype=wp.int16)
    pots: wp.array(dtype=wp.int16)
    counters: wp.array(dtype=wp.int16)
    start: wp.array(dtype=wp.int16)
    payoff: wp.array(dtype=wp.float32)
    cook_time: wp.array(dtype=wp.int16)
    shaping: wp.array(dtype=wp.float32)
    picture: wp.array2d(dtype=Cell)
    move: wp.array(dtype=wp.int16)
    players: int
    horizon: int
    automatic: int


@wp.func
def ingredients(soup: int):
    """How many ingredients a soup has."""
    return (soup & 3) + (soup >> 2) - 1


@wp.func
def pots_in_use(kitchen: Kitchen, row: Row):
    """Pots that hold something and do not wait to be lit."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.shape[0]
    count = wp.int32(0)
    for pot in range(kitchen.pots.shape[0]):
        held = int(row[items + int(kitchen.pots[pot])])
        if held != NOTHING and (int(row[clocks + pot]) >= 0 or ingredients(held) < INGREDIENTS):
            count += 1
    return count


@wp.func
def dish_is_useful(kitchen: Kitchen, row: Row, in_use: int):
    """Whether there are more pots in use than dishes in hands, and no dish lies about."""
    if kitchen.players != 2:
        return False
    items = 1 + COOK * kitchen.players
    for counter in range(kitchen.counters.shape[0]):
        if int(row[items + int(kitchen.counters[counter])]) == DISH:
            return False
    carried = wp.int32(0)
    for cook in range(kitchen.players):
        if int(row[3 + COOK * cook]) == DISH:
            carried += 1
    return carried < in_use


@wp.func
def use_pot(kitchen: Kitchen, row: Row, hand: int, cell: int):
    """A cook faces a pot: light it, dish up, or add an ingredient. Returns the shaping reward."""
    held = int(row[hand])
    item = 1 + COOK * kitchen.players + cell
    clock = 1 + COOK * kitchen.players + kitchen.terrain.shape[0] + int(kitchen.pot_of[cell])
    soup, cooked = int(row[item]), int(row[clock])
    if held == NOTHING:
        if soup != NOTHING and cooked < 0 and kitchen.automatic == 0:
            row[clock] = wp.int16(0)
    elif held == DISH:
        if soup != NOTHING and cooked >= 0 and cooked >= int(kitchen.cook_time[soup]):
            row[hand] = wp.int16(soup)
            row[item] = wp.int16(NOTHING)
            row[clock] = wp.int16(-1)
            return kitchen.shaping[2]
    elif held < DISH and cooked < 0 and (soup == NOTHING or ingredients(soup) < INGREDIENTS):
        row[item] = wp.int16(wp.max(soup, SOUP) + (1 if held == ONION else 4))
        row[hand] = wp.int16(NOTHING)
        return kitchen.shaping[0]
    return wp.float32(0.0)


@wp.func
def interact(kitchen: Kitchen, row: Row, cook: int, in_use: int):
    """One cook uses what it faces. Returns (payoff to the team, shaping reward of the cook)."""
    hand = 3 + COOK * cook
    cell = int(row[hand - 2]) + int(kitchen.move[int(row[hand - 1])])
    item = 1 + COOK * kitchen.players + cell
    held, terrain = int(row[hand]), int(kitchen.terrain[cell])
    payoff, shaping = wp.float32(0.0), wp.float32(0.0)
    if terrain == COUNTER:
        there = int(row[item])
        if held == NOTHING or there == NOTHING:
            row[hand] = wp.int16(there)
            row[item] = wp.int16(held)
    elif terrain == POT:
        shaping = use_pot(kitchen, row, hand, cell)
    elif terrain == HATCH:
        if held >= SOUP:
            payoff = kitchen.payoff[held]
            row[hand] = wp.int16(NOTHING)
    elif held == NOTHING:
        if terrain == ONIONS:
            row[hand] = wp.int16(ONION)
        elif terrain == TOMATOES:
            row[hand] = wp.int16(TOMATO)
        elif terrain == DISHES:
            if dish_is_useful(kitchen, row, in_use):
                shaping = kitchen.shaping[1]
            row[hand] = wp.int16(DISH)
    return payoff, shaping


@wp.func
def destination(kitchen: Kitchen, cell: int, action: int):
    """The cell that an action leads to: its own, unless it steps onto the floor."""
    ahead = cell + int(kitchen.move[action])
    return ahead if int(kitchen.terrain[ahead]) == FLOOR else cell


@wp.func
def walk(kitchen: Kitchen, row: Row, actions: wp.array(dtype=wp.int64)):
    """Cooks turn to where they want to go, and go there unless any two of them would collide."""
    for cook in range(kitchen.players):
        if int(actions[cook]) < STAY:
            row[2 + COOK * cook] = wp.int16(actions[cook])
    for cook in range(kitchen.players):
        for other in range(cook):
            here, there = int(row[1 + COOK * cook]), int(row[1 + COOK * other])
            mine = destination(kitchen, here, int(actions[cook]))
            yours = destination(kitchen, there, int(actions[other]))
            if mine == yours or (mine == there and yours == here):
                return
    for cook in range(kitchen.players):
        row[1 + COOK * cook] = wp.int16(destination(kitchen, int(row[1 + COOK * cook]), int(actions[cook])))


@wp.func
def cook_pots(kitchen: Kitchen, row: Row):
    """One step of the fire."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.shape[0]
    for pot in range(kitchen.pots.shape[0]):
        soup = int(row[items + int(kitchen.pots[pot])])
        if soup != NOTHING:
            if kitchen.automatic != 0 and int(row[clocks + pot]) < 0 and ingredients(soup) == INGREDIENTS:
                row[clocks + pot] = wp.int16(0)
            clock = int(row[clocks + pot])
            if clock >= 0 and clock < int(kitchen.cook_time[soup]):
                row[clocks + pot] = wp.int16(clock + 1)


@wp.func
def step(kitchen: Kitchen, row: Row, actions: wp.array(dtype=wp.int64), shaping: wp.array(dtype=wp.float32)):
    """One step of one game, in place. Writes shaping (P,); returns (payoff to the team, done)."""
    payoff = wp.float32(0.0)
    in_use = pots_in_use(kitchen, row)
    for cook in range(kitchen.players):
        shaping[cook] = wp.float32(0.0)
        if int(actions[cook]) == INTERACT:
            earned, hint = interact(kitchen, row, cook, in_use)
            payoff += earned
            shaping[cook] = hint
    walk(kitchen, row, actions)
    cook_pots(kitchen, row)
    row[0] = wp.int16(int(row[0]) + 1)
    done = int(row[0]) >= kitchen.horizon
    if done:
        for number in range(row.shape[0]):
            row[number] = kitchen.start[number]
    return payoff, done


@wp.func
def draw_item(kitchen: Kitchen, seen: wp.array(dtype=Cell), cell: int, held: int, clock: int):
    """The features of a thing on a cell. `clock` is -2 off the fire, -1 in an unlit pot."""
    feature = 5 * kitchen.players + 6
    if held < SOUP:
        seen[cell][feature + 6 + (0 if held == DISH else held)] = wp.uint8(1)
        return
    soup = feature if clock == -1 else feature + 2
    seen[cell][soup] = wp.uint8(held & 3)
    seen[cell][soup + 1] = wp.uint8((held >> 2) - 1)
    left = int(kitchen.cook_time[held]) - clock if clock >= 0 else 0
    seen[cell][feature + 4] = wp.uint8(left)
    seen[cell][feature + 5] = wp.uint8(1 if clock != -1 and left <= 0 else 0)


@wp.func
def draw_cook(kitchen: Kitchen, row: Row, seen: wp.array(dtype=Cell), cook: int, rank: int):
    """The features of a cook, who comes in the encoding after `rank` others, and of what is held."""
    cell, facing, held = int(row[1 + COOK * cook]), int(row[2 + COOK * cook]), int(row[3 + COOK * cook])
    seen[cell][rank] = wp.uint8(1)
    seen[cell][kitchen.players + 4 * rank + facing] = wp.uint8(1)
    if held != NOTHING:
        draw_item(kitchen, seen, cell, held, -2)


@wp.func
def observe(kitchen: Kitchen, row: Row, seen: wp.array2d(dtype=Cell)):
    """The lossless encoding of one game into seen (P, cells), each seat's own cook first."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.shape[0]
    bare = kitchen.picture[1 if kitchen.horizon - int(row[0]) < URGENT else 0]
    for seat in range(kitchen.players):
        mine = seen[seat]
        for cell in range(bare.shape[0]):
            mine[cell] = bare[cell]
        for cook in range(kitchen.players):
            draw_cook(kitchen, row, mine, cook, 0 if cook == seat else (cook + 1 if cook < seat else cook))
        for counter in range(kitchen.counters.shape[0]):
            place = int(kitchen.counters[counter])
            if int(row[items + place]) != NOTHING:
                draw_item(kitchen, mine, place, int(row[items + place]), -2)
        for pot in range(kitchen.pots.shape[0]):
            place = int(kitchen.pots[pot])
            if int(row[items + place]) != NOTHING:
                draw_item(kitchen, mine, place, int(row[items + place]), int(row[clocks + pot]))


@wp.kernel
def step_games(
    kitchen: Kitchen,
    rows: wp.array2d(dtype=wp.int16),
    actions: wp.array2d(dtype=wp.int64),
    seen: wp.array3d(dtype=Cell),
    reward: wp.array2d(dtype=wp.float32),
    shaping: wp.array2d(dtype=wp.float32),
    done: wp.array(dtype=wp.bool),
    first: int,
):
    """Steps the games from `first` on: rows (B, numbers), actions (B, P), the rest is written."""
    game = first + wp.tid()
    payoff, over = step(kitchen, rows[game], actions[game], shaping[game])
    done[game] = over
    for seat in range(kitchen.players):
        reward[game, seat] = payoff
    observe(kitchen, rows[game], seen[game])


class Games:
    """B kitchens side by side, all at the start."""

    def __init__(self, arrays: dict[str, np.ndarray], games: int) -> None:
        self.kitchen = Kitchen()
        for name in Kitchen.vars.keys() - {"picture"}:
            value = arrays[name]
            setattr(self.kitchen, name, wp.array(value, device="cpu") if value.ndim else int(value))
        picture = arrays["picture"].reshape(2, -1, CHANNELS)
        self.kitchen.picture = wp.array(picture, dtype=Cell, device="cpu")
        self.rows = wp.array(np.tile(arrays["start"], (games, 1)), device="cpu")
        self.seen = wp.empty((games, self.kitchen.players, picture.shape[1]), dtype=Cell, device="cpu")
        self.reward = wp.empty((games, self.kitchen.players), dtype=wp.float32, device="cpu")
        self.shaping = wp.empty_like(self.reward)
        self.done = wp.empty(games, dtype=wp.bool, device="cpu")

    def step(self, actions: wp.array, first: int, last: int) -> None:
        """Steps games `first` to `last` (excluded)."""
        arrays = [self.kitchen, self.rows, actions, self.seen, self.reward, self.shaping, self.done, first]
        wp.launch(step_games, dim=last - first, inputs=arrays, device="cpu")


def agrees(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the recorded actions (T, B, P) lead to the recorded rows, observations, and sums of rewards."""
    games = arrays["actions"].shape[1]
    here = Games(arrays, games)
    earned = np.zeros(arrays["earned"].shape, np.float32)
    for actions in arrays["actions"]:
        here.step(wp.array(actions, device="cpu"), 0, games)
        earned += np.stack([here.reward.numpy(), here.shaping.numpy()])
    seen = here.seen.numpy().reshape(arrays["seen"].shape)
    pairs = ((here.rows.numpy(), "rows"), (seen, "seen"), (earned, "earned"))
    return all(np.array_equal(found, arrays[name]) for found, name in pairs)


def rate(arrays: dict[str, np.ndarray], games: int, threads: int, seconds: float) -> float:
    """Steps per second of so many games, shared among threads."""
    here = Games(arrays, games)
    draws = np.random.default_rng(0).integers(0, 6, (DRAWS, games, here.kitchen.players))
    actions = [wp.array(draw, dtype=wp.int64, device="cpu") for draw in draws]
    bounds = [games * share // threads for share in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            list(pool.map(here.step, repeat(actions[calls % DRAWS]), bounds, bounds[1:]))
            calls += 1
        return calls * games / (time.perf_counter() - start)


def measure(arrays: dict[str, np.ndarray], seconds: float) -> dict[str, Any]:
    """Whether the rules are the same, and the best speeds; thread counts and batch sizes share the seconds."""
    each = seconds / len(THREADS) / len(BATCHES)
    same = agrees(arrays)
    speeds = [max(rate(arrays, games, threads, each) for games in BATCHES) for threads in THREADS]
    return {"agrees": same, "steps_per_second": speeds}


def main(folder: Path, *seconds: str) -> None:
    """Prints the speeds, or, without a number of seconds, when the first step was done."""
    wp.config.kernel_cache_dir = str(folder)
    wp.config.log_level = wp.LOG_ERROR
    arrays = dict(np.load(folder / "game.npz"))
    if seconds:
        print(json.dumps(measure(arrays, float(seconds[0]))))
        return
    Games(arrays, 1).step(wp.array(arrays["actions"][0], device="cpu"), 0, 1)
    print(json.dumps({"done": time.time()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
