"""Layouts of kitchens, by name or drawn as text, compiled into the arrays that the rules use."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from games.overcooked import rules
from games.overcooked.rules import COOK, INGREDIENTS, RECIPES, SOUP, Kitchen

TERRAIN = {
    " ": rules.FLOOR,
    "X": rules.COUNTER,
    "O": rules.ONIONS,
    "T": rules.TOMATOES,
    "D": rules.DISHES,
    "P": rules.POT,
    "S": rules.HATCH,
}
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, if available
SHAPING = (3.0, 3.0, 5.0)  # for an ingredient put into a pot, a useful dish, a soup taken out
VALUE, TIME = 20, 20  # default payoff of a soup, and default steps to cook it
NUMBER = (int, float)
KEYS: dict[str, Any] = {  # valid keys of an entry, and their types
    **{"drawing": str, "orders": list, "bonus_orders": list, "recipe_values": list, "recipe_times": list},
    **{"onion_value": NUMBER, "tomato_value": NUMBER, "onion_time": NUMBER, "tomato_time": NUMBER},
}
LONGEST = 255  # steps to cook, which the encoding stores in a byte


@cache
def built_in() -> dict[str, Any]:
    """Returns the contents of layouts.yaml."""
    return yaml.load(files("games.overcooked").joinpath("layouts.yaml").read_text(), SAFE)


def entries() -> dict[str, Any]:
    """Returns the built-in layouts by name: those of overcooked-ai, and those of JaxMARL that differ from them."""
    return {**built_in()["layouts"], **built_in()["jaxmarl"]}


def names() -> list[str]:
    """Returns all valid names for `game.layout`."""
    return sorted([*entries(), *built_in()["aliases"]])


def find(layout: str) -> dict[str, Any]:
    """Returns the entry for a name, a file (.txt: a drawing; .yaml: an entry as in layouts.yaml), or a drawing itself.

    Raises ValueError if there is none.
    """
    if "\n" in layout:
        return {"drawing": layout}
    if layout.endswith((".txt", ".yaml")):
        return read_layout(Path(layout))
    name = built_in()["aliases"].get(layout, layout)
    if name not in entries():
        near = get_close_matches(layout, names(), n=1, cutoff=0.0)
        choices = ", ".join(near + [choice for choice in names() if choice not in near])
        raise ValueError(f"there is no layout {layout!r}; choose from {choices}; or give a drawing or its .txt file")
    return entries()[name]


def read_layout(path: Path) -> dict[str, Any]:
    """Reads a layout from a file."""
    if not path.is_file():
        raise ValueError(f"there is no layout file {str(path)!r}")
    try:
        text = path.read_text()
        entry = {"drawing": text} if path.suffix == ".txt" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}".replace("\n", " ")) from error
    if not isinstance(entry, dict) or not {"drawing"} <= set(entry) <= set(KEYS):
        raise ValueError(f"{path} must have the key drawing, and may have {', '.join(sorted(set(KEYS) - {'drawing'}))}")
    for key, value in entry.items():
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            kind = {str: "text, its rows below each other after |", list: "a list"}.get(KEYS[key], "a number")
            raise ValueError(f"{path}: {key} must be {kind}, not {value!r}")
    return entry


def grid_of(drawing: str) -> list[str]:
    """Returns the rows of a drawing. Raises ValueError with the position of an error."""
    rows = drawing.strip("\n").split("\n")
    rows = [row.rstrip("\r") for row in rows]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"layout: row {number} has {len(row)} cells and row 1 has {len(rows[0])}; all must have the same"
            )
        for column, cell in enumerate(row, 1):
            if cell not in TERRAIN and not cell.isdigit():
                raise ValueError(
                    f"layout: {cell!r} in row {number}, column {column} is not one of X (counter), O (onions), "
                    "T (tomatoes), D (dishes), P (pot), S (serving hatch), space (floor), 1 2 … (cooks)"
                )
            edge = number in (1, len(rows)) or column in (1, len(row))
            if edge and (cell == " " or cell.isdigit()):
                raise ValueError(
                    f"layout: the border must be closed, but row {number}, column {column} is {cell!r}, a floor"
                )
    check_contents("".join(rows))
    return rows


def check_contents(cells: str) -> None:
    """Raises ValueError unless a kitchen has cooks 1, 2, … and everything that a soup needs."""
    cooks = sorted(cell for cell in cells if cell.isdigit())
    if not cooks or cooks != [str(number) for number in range(1, len(cooks) + 1)]:
        counts = ", ".join(cooks) if cooks else "none"
        raise ValueError(f"layout: cooks must be numbered 1, 2, … once each; found {counts}")
    for letter, name in (("D", "dishes (D)"), ("S", "serving hatch (S)"), ("P", "pot (P)")):
        if letter not in cells:
            raise ValueError(f"layout: there is no {name}")
    if "O" not in cells and "T" not in cells:
        raise ValueError("layout: there are neither onions (O) nor tomatoes (T)")


def soup_of(order: Any) -> int:
    """Returns the number of a soup, which is written with an o for each onion and a t for each tomato."""
    if not isinstance(order, str) or not 1 <= len(order) <= INGREDIENTS or set(order) - set("ot"):
        raise ValueError(f"layout: an order is one to three letters o (onion) and t (tomato), like oot; not {order!r}")
    return SOUP + order.count("o") + 4 * order.count("t")


def recipe_table(entry: Mapping[str, Any], orders: Sequence[str], key: str, unit: str, default: int) -> np.ndarray:
    """Returns values or times (RECIPES,) of all soups.

    A layout may give them as a list under `key`, with a number for each order, or by ingredient under `onion_UNIT` and
    `tomato_UNIT`. Otherwise they have the default.
    """
    result = np.full(RECIPES, default, np.float32)
    onion, tomato = entry.get(f"onion_{unit}"), entry.get(f"tomato_{unit}")
    if onion is not None and tomato is not None:
        for onions, tomatoes in product(range(4), range(4)):
            if onions + tomatoes <= INGREDIENTS:
                result[SOUP + onions + 4 * tomatoes] = onion * onions + tomato * tomatoes
    values = entry.get(key)
    if values is not None:
        if len(values) != len(orders):
            raise ValueError(f"layout: {key} has {len(values)} entries for {len(orders)} orders")
        for order, number in zip(orders, values, strict=True):
            if not isinstance(number, NUMBER) or isinstance(number, bool):
                raise ValueError(f"layout: {key} must be numbers, not {number!r}")
            result[soup_of(order)] = number
    return result


def payoffs(entry: Mapping[str, Any], orders: Sequence[str]) -> np.ndarray:
    """Returns the payoff of each soup (RECIPES,): zero unless it is ordered, doubled for a bonus order."""
    values = recipe_table(entry, orders, "recipe_values", "value", VALUE)
    bonus = [soup_of(order) for order in entry.get("bonus_orders", [])]
    result = np.zeros(RECIPES, np.float32)
    for soup in map(soup_of, orders):
        result[soup] = values[soup] * (2 if soup in bonus else 1)
    return result


def cook_times(entry: Mapping[str, Any], orders: Sequence[str]) -> np.ndarray:
    """Returns the cooking time of each soup in steps (RECIPES,)."""
    times = recipe_table(entry, orders, "recipe_times", "time", TIME)
    if not (times.min() >= 0 and times.max() <= LONGEST):
        raise ValueError(f"layout: a soup cooks from 0 to {LONGEST} steps, not {times.min():g} to {times.max():g}")
    return times.astype(np.uint16)


def compile_layout(layout: str, *, horizon: int, old_dynamics: bool | None) -> Kitchen:
    """Returns the arrays of a layout. If `old_dynamics` is None, pots start by themselves if every order fills them.

    Raises ValueError for an unknown layout, an invalid drawing, or orders that can never be cooked.
    """
    entry = find(layout)
    grid = grid_of(entry["drawing"])
    orders = entry.get("orders", ["ooo"])
    if not orders:
        raise ValueError("layout: orders must name at least one soup, like [ooo]")
    full = all(len(order) == INGREDIENTS for order in orders)
    if old_dynamics and not full:
        raise ValueError(
            "with game.old_dynamics=true a pot starts to cook when it is full, so that the orders "
            f"{', '.join(order for order in orders if len(order) < INGREDIENTS)} of layout {layout!r} "
            "can never be cooked; use game.old_dynamics=false"
        )
    return arrays(
        grid,
        payoff=payoffs(entry, orders),
        cook_time=cook_times(entry, orders),
        horizon=horizon,
        automatic=full if old_dynamics is None else old_dynamics,
    )


def arrays(grid: Sequence[str], *, payoff: np.ndarray, cook_time: np.ndarray, horizon: int, automatic: bool) -> Kitchen:
    """Returns a Kitchen from its rows. Cells are numbered by column, as in the encoding of overcooked-ai."""
    height = len(grid)
    cells = "".join("".join(column) for column in zip(*grid, strict=True))
    terrain = np.array([TERRAIN.get(cell, rules.FLOOR) for cell in cells], np.uint8)
    pots = np.flatnonzero(terrain == rules.POT).astype(np.uint16)
    pot_of = np.zeros(len(cells), np.uint16)
    pot_of[pots] = np.arange(len(pots))
    players = sum(cell.isdigit() for cell in cells)
    start = np.zeros(1 + COOK * players + len(cells) + len(pots), np.int16)
    start[len(start) - len(pots) :] = -1
    for cook in range(players):
        start[1 + COOK * cook] = cells.index(str(cook + 1))
    numbers = np.arange(len(cells))
    ahead = numbers + np.array([-1, 1, height, -height, 0, 0])[:, None]  # north, south, east, west, stay, interact
    ahead = np.clip(ahead, 0, len(cells) - 1)  # no cook is on the border
    return Kitchen(
        cooks=tuple(range(players)),
        terrain=terrain,
        ahead=ahead[:4].astype(np.uint16),
        goal=np.where(terrain[ahead] == rules.FLOOR, ahead, numbers).astype(np.uint16),
        pot_of=pot_of,
        pots=pots,
        counters=np.flatnonzero(terrain == rules.COUNTER).astype(np.uint16),
        start=start,
        payoff=payoff,
        cook_time=cook_time,
        shaping=np.array(SHAPING, np.float32),
        picture=encode_empty(terrain, players),
        horizon=horizon,
        automatic=int(automatic),
        height=height,
    )


def encode_empty(terrain: np.ndarray, players: int) -> np.ndarray:
    """Returns the encoding of an empty kitchen (2, cells * channels): before and during the last 40 steps."""
    channel = {rules.POT: 0, rules.COUNTER: 1, rules.ONIONS: 2, rules.TOMATOES: 3, rules.DISHES: 4, rules.HATCH: 5}
    picture = np.zeros((2, len(terrain), 5 * players + 16), np.uint8)
    for cell, kind in enumerate(terrain):
        if kind != rules.FLOOR:
            picture[:, cell, 5 * players + channel[int(kind)]] = 1
    picture[1, :, -1] = 1
    return picture.reshape(2, -1)
