"""Kitchens drawn as text, by name or by the user, compiled into the arrays that the rules run on."""

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
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML has it, takes a tenth of the time
SHAPING = (3.0, 3.0, 5.0)  # an ingredient potted, a useful dish fetched, a soup dished up
VALUE, TIME = 20, 20  # payoff of a soup, and steps to cook it, where a layout says nothing else
NUMBER = (int, float)
KEYS: dict[str, Any] = {  # of an entry, and what they hold
    **{"drawing": str, "orders": list, "bonus_orders": list, "recipe_values": list, "recipe_times": list},
    **{"onion_value": NUMBER, "tomato_value": NUMBER, "onion_time": NUMBER, "tomato_time": NUMBER},
}
LONGEST = 255  # steps to cook: the encoding counts them down in a byte


@cache
def shipped() -> dict[str, Any]:
    """The layouts that come with the game, and their aliases, as in layouts.yaml."""
    return yaml.load(files("games.overcooked").joinpath("layouts.yaml").read_text(), SAFE)


def names() -> list[str]:
    """Every name that `game.layout` understands."""
    return sorted([*shipped()["layouts"], *shipped()["aliases"]])


def find(layout: str) -> dict[str, Any]:
    """The entry for a name, a file (.txt: a drawing; .yaml: an entry as in layouts.yaml), or a drawing itself.

    Raises ValueError when there is none.
    """
    if "\n" in layout:
        return {"drawing": layout}
    if layout.endswith((".txt", ".yaml")):
        return read(Path(layout))
    name = shipped()["aliases"].get(layout, layout)
    if name not in shipped()["layouts"]:
        near = get_close_matches(layout, names(), n=1, cutoff=0.0)
        others = ", ".join(near + [other for other in names() if other not in near])
        raise ValueError(f"there is no layout {layout!r}; choose from {others}; or give a drawing or its .txt file")
    return shipped()["layouts"][name]


def read(path: Path) -> dict[str, Any]:
    """A user's own layout."""
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
    """The rows of a drawing, all checks passed. Raises ValueError with what is wrong, and where."""
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
    """A kitchen has cooks 1, 2, …, and one of each thing that a soup needs."""
    cooks = sorted(cell for cell in cells if cell.isdigit())
    if not cooks or cooks != [str(number) for number in range(1, len(cooks) + 1)]:
        found = ", ".join(cooks) if cooks else "none"
        raise ValueError(f"layout: cooks must be numbered 1, 2, … once each; found {found}")
    for needed, name in (("D", "dishes (D)"), ("S", "serving hatch (S)"), ("P", "pot (P)")):
        if needed not in cells:
            raise ValueError(f"layout: there is no {name}")
    if "O" not in cells and "T" not in cells:
        raise ValueError("layout: there are neither onions (O) nor tomatoes (T)")


def soup_of(order: Any) -> int:
    """The number of a soup spelled with an o for each onion and a t for each tomato."""
    if not isinstance(order, str) or not 1 <= len(order) <= INGREDIENTS or set(order) - set("ot"):
        raise ValueError(f"layout: an order is one to three letters o (onion) and t (tomato), like oot; not {order!r}")
    return SOUP + order.count("o") + 4 * order.count("t")


def table(entry: Mapping[str, Any], orders: Sequence[str], listed: str, each: str, default: int) -> np.ndarray:
    """Values or times (RECIPES,) of every soup, as a layout states them: by order, by ingredient, or not."""
    result = np.full(RECIPES, default, np.float32)
    onion, tomato = entry.get(f"onion_{each}"), entry.get(f"tomato_{each}")
    if onion is not None and tomato is not None:
        for onions, tomatoes in product(range(4), range(4)):
            if onions + tomatoes <= INGREDIENTS:
                result[SOUP + onions + 4 * tomatoes] = onion * onions + tomato * tomatoes
    given = entry.get(listed)
    if given is not None:
        if len(given) != len(orders):
            raise ValueError(f"layout: {listed} has {len(given)} entries for {len(orders)} orders")
        for order, number in zip(orders, given, strict=True):
            if not isinstance(number, NUMBER) or isinstance(number, bool):
                raise ValueError(f"layout: {listed} must be numbers, not {number!r}")
            result[soup_of(order)] = number
    return result


def payoffs(entry: Mapping[str, Any], orders: Sequence[str]) -> np.ndarray:
    """What each soup earns (RECIPES,): nothing unless it is ordered, twice its value if it is a bonus order."""
    values = table(entry, orders, "recipe_values", "value", VALUE)
    bonus = [soup_of(order) for order in entry.get("bonus_orders", [])]
    ordered = [soup_of(order) for order in orders]
    earned = np.zeros(RECIPES, np.float32)
    for soup in ordered:
        earned[soup] = values[soup] * (2 if soup in bonus else 1)
    return earned


def cook_times(entry: Mapping[str, Any], orders: Sequence[str]) -> np.ndarray:
    """Steps that each soup cooks (RECIPES,)."""
    times = table(entry, orders, "recipe_times", "time", TIME)
    if not (times.min() >= 0 and times.max() <= LONGEST):
        raise ValueError(f"layout: a soup cooks from 0 to {LONGEST} steps, not {times.min():g} to {times.max():g}")
    return times.astype(np.uint16)


def compiled(layout: str, *, horizon: int, old_dynamics: bool | None) -> Kitchen:
    """The arrays of a layout. `old_dynamics` None: pots light themselves if every order fills them.

    Raises ValueError for an unknown layout, a drawing that is none, or orders that can never be cooked.
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
    """A kitchen from its rows; cells are numbered by column, as the reference's encoding lays them out."""
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
    here = np.arange(len(cells))
    ahead = here + np.array([-1, 1, height, -height, 0, 0])[:, None]  # north, south, east, west, stay, interact
    ahead = np.clip(ahead, 0, len(cells) - 1)  # no cook stands on the border
    return Kitchen(
        cooks=tuple(range(players)),
        terrain=terrain,
        ahead=ahead[:4].astype(np.uint16),
        goal=np.where(terrain[ahead] == rules.FLOOR, ahead, here).astype(np.uint16),
        pot_of=pot_of,
        pots=pots,
        counters=np.flatnonzero(terrain == rules.COUNTER).astype(np.uint16),
        start=start,
        payoff=payoff,
        cook_time=cook_time,
        shaping=np.array(SHAPING, np.float32),
        picture=bare(terrain, players),
        horizon=horizon,
        automatic=int(automatic),
        height=height,
    )


def bare(terrain: np.ndarray, players: int) -> np.ndarray:
    """The encoding of an empty kitchen (2, cells * channels), calm and in the urgent last steps."""
    channel = {rules.POT: 0, rules.COUNTER: 1, rules.ONIONS: 2, rules.TOMATOES: 3, rules.DISHES: 4, rules.HATCH: 5}
    picture = np.zeros((2, len(terrain), 5 * players + 16), np.uint8)
    for cell, kind in enumerate(terrain):
        if kind != rules.FLOOR:
            picture[:, cell, 5 * players + channel[int(kind)]] = 1
    picture[1, :, -1] = 1
    return picture.reshape(2, -1)
