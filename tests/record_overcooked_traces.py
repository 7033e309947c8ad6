"""Plays kitchens of overcooked-ai 1.1.0 and writes down all that happens, for our rules to be held against.

Run by hand, in an environment with that package and numpy alone: `python tests/record_overcooked_traces.py`.
`test_overcooked_traces.py` replays what it writes. A trace has lanes, kitchens side by side, and times: the
opening and the STEPS steps after it. A game that reaches HORIZON is followed by the next one at once: in
place of its last state stands the first of the next.
"""

import json
import random
import zlib
from collections import Counter, deque
from collections.abc import Iterable
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from overcooked_ai_py.mdp.actions import Action, Direction
from overcooked_ai_py.mdp.overcooked_mdp import ObjectState, OvercookedGridworld, OvercookedState, Recipe
from overcooked_ai_py.static import LAYOUTS_DIR

HORIZON = 400
GAMES = 2  # one after the other
LANES = 7
STEPS = GAMES * HORIZON
PICTURES = slice(25, None, 50)  # the times at which whole encodings are kept
CLUMSINESS = (0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.7)  # how often the cooks of a game act at random
WHIM = 0.02  # how often a cook sets out for any place whatever
CLASSICS = (
    "cramped_room",
    "asymmetric_advantages",
    "coordination_ring",
    "forced_coordination",
    "counter_circuit_o_1order",
)
OTHERS = (
    "cramped_room_o_3orders",
    "pipeline",
    "tutorial_0",
    "long_cook_time",
    "counter_circuit",
    "asymmetric_advantages_tomato",
    "mdp_test",
    "soup_coordination",
    "cramped_room_single",
    "multiplayer_schelling",
)
OUR_NAMES = {"counter_circuit": "counter_circuit_tomato"}
UNDRAWABLE = ("tutorial_1", "tutorial_3")  # see games/overcooked/layouts.yaml
KINDS = ("nothing", "onion", "tomato", "dish")
SOUP = 4
Cell = tuple[int, int]  # x, y
Move = tuple[int, int] | str  # an action of the reference: a direction, (0, 0) to stay, or "interact"


class SelfLighting(OvercookedGridworld):
    """The `old_dynamics` of later versions: a full pot starts to cook by itself, and no cook can light one."""

    def soup_to_be_cooked_at_location(self, state: OvercookedState, pos: Cell) -> bool:
        return False

    def step_environment_effects(self, state: OvercookedState) -> None:
        for thing in state.objects.values():
            if thing.name == "soup" and thing.is_idle and len(thing.ingredients) == 3:
                thing.begin_cooking()
        super().step_environment_effects(state)


class Crew:
    """Cooks who agree on a soup for each pot and go the shortest way about it, but for slips and whims."""

    def __init__(self, kitchen: OvercookedGridworld, chance: random.Random) -> None:
        self.kitchen = kitchen
        self.chance = chance
        self.floor = set(kitchen.get_valid_player_positions())
        self.reach = [self.places_from(start) for start in kitchen.start_player_positions]
        self.counters = set(kitchen.get_counter_locations())
        self.shared = {cell for cell in self.counters if sum(cell in reach for reach in self.reach) > 1}
        self.pots = kitchen.get_pot_locations()
        self.soups = self.possible_soups()
        self.plans: dict[Cell, tuple[str, ...]] = {}
        self.whims: dict[int, Cell] = {}
        self.clumsiness = 0.0

    def places_from(self, start: Cell) -> set[Cell]:
        """All that a cook who starts there can ever use."""
        floor, edge = {start}, [start]
        while edge:
            around = set(neighbours(edge.pop()))
            edge += sorted(around & self.floor - floor)
            floor |= around & self.floor
        return {cell for here in floor for cell in neighbours(here)} - floor

    def possible_soups(self) -> list[tuple[str, ...]]:
        """Soups of what the kitchen has, those ordered three times over; full ones where pots light themselves."""
        here = [name for name, letter in (("onion", "O"), ("tomato", "T")) if self.kitchen.terrain_pos_dict[letter]]
        soups = [soup for size in (1, 2, 3) for soup in combinations_with_replacement(here, size)]
        ordered = [tuple(sorted(order["ingredients"])) for order in self.kitchen.start_all_orders]
        soups += 3 * [soup for soup in ordered if soup in soups]
        return [soup for soup in soups if len(soup) == 3 or not isinstance(self.kitchen, SelfLighting)]

    def start_game(self, clumsiness: float) -> None:
        self.plans, self.whims, self.clumsiness = {}, {}, clumsiness

    def act(self, state: OvercookedState) -> list[Move]:
        """An action for each seat."""
        for pot in self.pots:
            if pot in state.objects and not state.objects[pot].is_idle:
                self.plans.pop(pot, None)
            elif pot not in self.plans:
                self.plans[pot] = self.chance.choice(self.soups)
        return [self.choose(state, seat) for seat in range(len(state.players))]

    def choose(self, state: OvercookedState, seat: int) -> Move:
        """The action of one cook, who steps around the others only every other time."""
        if self.chance.random() < self.clumsiness:
            return self.chance.choice(Action.ALL_ACTIONS)
        if self.chance.random() < WHIM:
            self.whims[seat] = self.chance.choice(sorted(self.reach[seat]))
        goals = {self.whims[seat]} if seat in self.whims else self.goals(state, seat)
        considerate = self.chance.random() < 0.5
        others = set(state.player_positions) if considerate else set()
        action = self.towards(state.players[seat].pos_and_or, goals, others)
        if action == Action.INTERACT:
            self.whims.pop(seat, None)
        return action or self.chance.choice(Action.ALL_ACTIONS)

    def towards(self, stand: tuple[Cell, Cell], goals: set[Cell], others: set[Cell]) -> Move | None:
        """The first action on the shortest way to use one of `goals`; None if there is no way."""
        here, facing = stand
        first: dict[Cell, Move | None] = {here: None}
        edge = deque([here])
        while edge:
            cell = edge.popleft()
            for direction, ahead in zip(Direction.ALL_DIRECTIONS, neighbours(cell), strict=True):
                if ahead in goals:
                    return first[cell] or (Action.INTERACT if direction == facing else direction)
                if ahead in self.floor - others and ahead not in first:
                    first[ahead] = first[cell] or direction
                    edge.append(ahead)
        return None

    def goals(self, state: OvercookedState, seat: int) -> set[Cell]:
        """Where to take what is in the hand, or what to do with an empty one; a counter if that is out of reach."""
        held, reach = state.players[seat].held_object, self.reach[seat]
        if held is None:
            return self.errands(state, seat) & reach
        free = self.counters & reach - set(state.objects)
        return self.uses(state, held.name) & reach or free & self.shared or free

    def uses(self, state: OvercookedState, name: str) -> set[Cell]:
        """Where a thing is needed now."""
        if name == "soup":
            return set(self.kitchen.get_serving_locations())
        if name == "dish":
            return {pot for pot in self.pots if pot in state.objects and not state.objects[pot].is_idle}
        return {pot for pot in self.pots if self.lacks(state, pot)[name]}

    def lacks(self, state: OvercookedState, pot: Cell) -> Counter:
        """What is still to be put into a pot."""
        soup = state.objects.get(pot)
        if soup is None:
            return Counter(self.plans[pot])
        return Counter() if soup.is_full else Counter(self.plans[pot]) - Counter(soup.ingredients)

    def errands(self, state: OvercookedState, seat: int) -> set[Cell]:
        """What an empty hand should use: a pot to light, or else the things that are most needed."""
        unlit = {pot for pot in self.pots if self.kitchen.soup_to_be_cooked_at_location(state, pot)}
        unlit = {pot for pot in unlit & self.reach[seat] if not self.lacks(state, pot)}
        if unlit:
            return unlit
        for names in (["soup"], ["dish"], ["onion", "tomato"]):
            sources = set().union(*(self.sources(state, seat, name) for name in names))
            if sources & self.reach[seat]:
                return sources
        return set()

    def sources(self, state: OvercookedState, seat: int, name: str) -> set[Cell]:
        """Where to find a thing if more of it is needed than is in hands; none that was left for another cook."""
        lying = {cell for cell in self.counters & set(state.objects) if state.objects[cell].name == name}
        missing = self.demand(state, name) - len(state.player_objects_by_type[name])
        if missing <= 0:
            return set()
        place = self.kitchen.get_serving_locations() if name == "soup" else self.pots
        mine = lying if set(place) & self.reach[seat] else lying - self.shared
        supply = {"onion": "O", "tomato": "T", "dish": "D"}.get(name)
        return mine | set(self.kitchen.terrain_pos_dict[supply]) if supply and missing > len(lying) else mine

    def demand(self, state: OvercookedState, name: str) -> int:
        """How many of a thing the kitchen can use."""
        if name == "soup":
            return len(state.all_objects_by_type["soup"])
        if name == "dish":
            return len(self.uses(state, name))
        return sum(self.lacks(state, pot)[name] for pot in self.pots)


def neighbours(cell: Cell) -> list[Cell]:
    """The cells north, south, east and west of one."""
    return [Action.move_in_direction(cell, direction) for direction in Direction.ALL_DIRECTIONS]


def number_of(thing: ObjectState | None) -> int:
    """What a hand or a cell holds, as in our rules: an index of KINDS, or SOUP + onions + 4 * tomatoes."""
    if thing is None or thing.name != "soup":
        return KINDS.index(thing.name if thing else "nothing")
    return SOUP + thing.ingredients.count("onion") + 4 * thing.ingredients.count("tomato")


def row_of(kitchen: OvercookedGridworld, state: OvercookedState) -> list[int]:
    """A state as the row of our rules, which says all there is to it; cells are numbered x * height + y.

    The clock; cell, facing and held thing of each cook; what lies on each cell; the cooking clock of each pot,
    -1 unless it cooks. Soups off the fire are always done, so their clocks say nothing.
    """
    row = [state.timestep]
    for cook in state.players:
        x, y = cook.position
        row += [x * kitchen.height + y, Direction.DIRECTION_TO_INDEX[cook.orientation], number_of(cook.held_object)]
    cells = [(x, y) for x in range(kitchen.width) for y in range(kitchen.height)]
    row += [number_of(state.objects.get(cell)) for cell in cells]
    pots = [state.objects.get(cell) for cell in cells if cell in kitchen.get_pot_locations()]
    return row + [-1 if soup is None else soup._cooking_tick for soup in pots]


def encoding_of(kitchen: OvercookedGridworld, state: OvercookedState) -> np.ndarray:
    """(P, width, height, 26) uint8; no channels where the reference refuses, without two cooks."""
    if kitchen.num_players != 2:
        return np.zeros((kitchen.num_players, *kitchen.shape, 0), np.uint8)
    numbers = np.stack(kitchen.lossless_state_encoding(state, HORIZON))
    assert numbers.min() >= 0, "encodings must fit in a byte"
    assert numbers.max() < 256, "encodings must fit in a byte"
    return numbers.astype(np.uint8)


def play(kitchen: OvercookedGridworld, crew: Crew, lane: int) -> dict[str, np.ndarray]:
    """One lane of a trace, times first.

    actions, shaping (STEPS, P), payoff (STEPS), rows (STEPS + 1, numbers), encodings (STEPS + 1, P, ...).
    """
    state = kitchen.get_standard_start_state()
    actions, payoff, shaping = [], [], []
    rows, encodings = [row_of(kitchen, state)], [encoding_of(kitchen, state)]
    for time in range(STEPS):
        if time % HORIZON == 0:
            crew.start_game(CLUMSINESS[(lane + time // HORIZON) % len(CLUMSINESS)])
        joint = crew.act(state)
        state, earned = kitchen.get_state_transition(state, joint)
        if state.timestep == HORIZON:
            state = kitchen.get_standard_start_state()
        actions.append([Action.ACTION_TO_INDEX[action] for action in joint])
        payoff.append(sum(earned["sparse_reward_by_agent"]))
        shaping.append(earned["shaped_reward_by_agent"])
        rows.append(row_of(kitchen, state))
        encodings.append(encoding_of(kitchen, state))
    lists = {"actions": actions, "payoff": payoff, "shaping": shaping, "rows": rows, "encodings": encodings}
    return {name: np.array(values) for name, values in lists.items()}


def checksums(encodings: np.ndarray) -> np.ndarray:
    """(times, P) uint8: the lowest byte of a CRC-32 that runs over the encodings (times, P, ...) of a seat.

    It keeps running, so that a single wrong byte shows in nearly every checksum from there on.
    """
    running = [0] * encodings.shape[1]
    result = np.zeros(encodings.shape[:2], np.uint8)
    for time, seats in enumerate(encodings):
        running = [zlib.crc32(seen.tobytes(), before) for seen, before in zip(seats, running, strict=True)]
        result[time] = [number & 255 for number in running]
    return result


def packed(lanes: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The lanes of a trace side by side; times go last, where they compress best."""
    arrays: dict[str, list[np.ndarray]] = {}
    for lane in lanes:
        pieces = {
            "actions": lane["actions"].T.astype(np.uint8),
            "payoff": lane["payoff"].astype(np.int16),
            "shaping": lane["shaping"].T.astype(np.uint8),
            "rows": lane["rows"].T.astype(np.int16),
        }
        if lane["encodings"].size:
            pieces["checksums"] = checksums(lane["encodings"]).T
            pieces["pictures"] = np.moveaxis(lane["encodings"][PICTURES], 0, -1)
        for name, piece in pieces.items():
            arrays.setdefault(name, []).append(piece)
    return {name: np.stack(pieces, -2) for name, pieces in arrays.items()}


def record(layout: str, self_lighting: bool) -> dict[str, np.ndarray]:
    """A trace: actions, shaping, checksums (P, LANES, times); rows (numbers, LANES, times); payoff (LANES, times).

    And pictures (P, width, height, 26, LANES, their times).
    """
    kitchen = OvercookedGridworld.from_layout_name(layout)
    if self_lighting:
        kitchen = SelfLighting(**kitchen.mdp_params)
    crews = [Crew(kitchen, random.Random(f"{layout} {self_lighting} {lane}")) for lane in range(LANES)]
    return packed(play(kitchen, crew, lane) for lane, crew in enumerate(crews))


def describe(layout: str) -> dict:
    """A layout: its first row, and payoff and cooking time of each soup, by the number of our rules."""
    kitchen = OvercookedGridworld.from_layout_name(layout)
    start = kitchen.get_standard_start_state()
    payoff, time = {}, {}
    for size in (1, 2, 3):
        for names in combinations_with_replacement(("onion", "tomato"), size):
            number = SOUP + names.count("onion") + 4 * names.count("tomato")
            payoff[number] = kitchen.get_recipe_value(start, Recipe(names))
            time[number] = Recipe(names).time
    terrain = ["".join(row) for row in kitchen.terrain_mtx]
    return {"terrain": terrain, "start": row_of(kitchen, start), "payoff": payoff, "time": time}


def main() -> None:
    """Writes overcooked_traces.npz beside this file: arrays by layout, dynamics and name, and all layouts."""
    names = sorted(path.stem for path in Path(LAYOUTS_DIR).glob("*.layout") if path.stem not in UNDRAWABLE)
    layouts = {OUR_NAMES.get(name, name): describe(name) for name in names}
    arrays = {"layouts": np.frombuffer(json.dumps(layouts).encode(), np.uint8)}
    plays = [(name, False) for name in CLASSICS + OTHERS] + [(name, True) for name in CLASSICS]
    for layout, self_lighting in plays:
        trace = record(layout, self_lighting)
        title = f"{OUR_NAMES.get(layout, layout)}/{'old' if self_lighting else 'new'}"
        arrays |= {f"{title}/{name}": array for name, array in trace.items()}
        print(f"{title}: {LANES * STEPS} steps, {(trace['payoff'] > 0).sum()} with a payoff", flush=True)
    np.savez_compressed(Path(__file__).with_name("overcooked_traces.npz"), **arrays)


if __name__ == "__main__":
    main()
