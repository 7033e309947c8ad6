"""Recorded games of overcooked-ai 1.1.0 replay to the same states and encodings.

`record_overcooked_traces.py` describes the recording.
"""

import json
import zlib
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from games.overcooked import Overcooked, layouts
from games.overcooked.rules import COOK, SOUP

FILE = Path(__file__).parents[1] / "fixtures" / "overcooked_traces.npz"
HORIZON = 400
PICTURES = slice(25, None, 50)  # the times at which whole encodings were kept
RECORDED = np.load(FILE)
TRACES = sorted({name.rsplit("/", 1)[0] for name in RECORDED.files if "/" in name})
LAYOUTS = json.loads(RECORDED["layouts"].tobytes())
JAXMARL = json.loads((FILE.parent / "jaxmarl_kitchens.json").read_text())  # see record_jaxmarl_kitchens.py


@cache
def read_traces(trace: str) -> dict[str, np.ndarray]:
    """Returns the recorded arrays by name, with times and lanes first: (T or T + 1, B, ...)."""
    names = [name.rsplit("/", 1)[1] for name in RECORDED.files if name.startswith(f"{trace}/")]
    arrays = {name: RECORDED[f"{trace}/{name}"] for name in names}
    return {name: np.moveaxis(array, (-1, -2), (0, 1)) for name, array in arrays.items()}


def game_of(trace: str) -> Overcooked:
    layout, dynamics = trace.split("/")
    return Overcooked(layout, horizon=HORIZON, old_dynamics=dynamics == "old")


@cache
def replay_traces(trace: str) -> dict[str, np.ndarray]:
    """Returns the arrays of our game for the same actions, and done (T, B)."""
    actions = torch.from_numpy(read_traces(trace)["actions"].astype(np.int64))
    game = game_of(trace)
    turns, rows = [game.reset(torch.arange(actions.shape[1]))], [game.state()["rows"]]
    for joint in actions:
        turns.append(game.step(joint))
        rows.append(game.state()["rows"])
    encodings = np.stack([turn.observation.numpy() for turn in turns])
    return {
        "rows": torch.stack(rows).numpy(),
        "payoff": torch.stack([turn.reward for turn in turns[1:]]).numpy(),
        "shaping": torch.stack([turn.shaping for turn in turns[1:]]).numpy(),
        "done": torch.stack([turn.done for turn in turns[1:]]).numpy(),
        "pictures": encodings[PICTURES],
        "checksums": checksums(encodings),
    }


def checksums(encodings: np.ndarray) -> np.ndarray:
    """Returns (T, B, P) uint8: the lowest byte of a running CRC-32 of a seat's encodings (T, B, P, ...)."""
    running = np.zeros(encodings.shape[1:3], np.uint32)
    result = np.zeros(encodings.shape[:3], np.uint8)
    for time, observation in enumerate(encodings):
        for seat in np.ndindex(running.shape):
            running[seat] = zlib.crc32(observation[seat], running[seat])
        result[time] = running & 255
    return result


def same(actual: np.ndarray, reference: np.ndarray) -> None:
    """Fails at the first difference in time."""
    assert actual.shape == reference.shape
    differences = np.argwhere(actual != reference)
    if len(differences):
        at = tuple(differences[0].tolist())
        pytest.fail(f"{len(differences)} differences, first at {at}: ours {actual[at]}, theirs {reference[at]}")


@pytest.mark.parametrize("trace", TRACES)
def test_states_are_the_same(trace: str) -> None:
    same(replay_traces(trace)["rows"], read_traces(trace)["rows"])


@pytest.mark.parametrize("trace", TRACES)
def test_every_seat_earns_what_the_team_earned(trace: str) -> None:
    actual = replay_traces(trace)["payoff"]
    same(actual, np.broadcast_to(read_traces(trace)["payoff"][..., None], actual.shape))


@pytest.mark.parametrize("trace", TRACES)
def test_shaping_is_the_same(trace: str) -> None:
    same(replay_traces(trace)["shaping"], read_traces(trace)["shaping"])


@pytest.mark.parametrize("trace", TRACES)
def test_games_end_at_the_horizon_alone(trace: str) -> None:
    times = np.arange(1, 1 + len(replay_traces(trace)["done"]))
    assert np.array_equal(replay_traces(trace)["done"].all(1), times % HORIZON == 0)
    assert np.array_equal(replay_traces(trace)["done"].any(1), times % HORIZON == 0)


@pytest.mark.parametrize("trace", [trace for trace in TRACES if "checksums" in read_traces(trace)])
def test_encodings_are_the_same(trace: str) -> None:
    """The recorded ones byte by byte, (time, lane, seat, x, y, channel), and all by checksum."""
    same(replay_traces(trace)["pictures"], read_traces(trace)["pictures"])
    same(replay_traces(trace)["checksums"], read_traces(trace)["checksums"])


def test_the_record_is_broad() -> None:
    """At least 12 layouts with 5,000 steps, the classic ones with both dynamics."""
    assert all(read_traces(trace)["payoff"].size >= 5000 for trace in TRACES)
    assert len({trace.split("/")[0] for trace in TRACES}) >= 12
    assert sum(trace.endswith("/old") for trace in TRACES) == 5


@pytest.mark.parametrize("trace", TRACES)
def test_soups_are_served_in_every_trace(trace: str) -> None:
    """Often enough for the comparison to be meaningful."""
    assert (read_traces(trace)["payoff"] > 0).sum() >= 20


def test_cooks_leave_things_of_every_kind_on_counters() -> None:
    """Onions, tomatoes, dishes and soups, hundreds of times each."""
    downs = np.zeros(5, np.int64)
    for trace in TRACES:
        kitchen = game_of(trace).kitchen
        on_counters = read_traces(trace)["rows"][..., 1 + COOK * kitchen.players + kitchen.counters]
        kinds = np.minimum(on_counters, SOUP)
        put = (kinds[1:] != kinds[:-1]) & (kinds[1:] > 0)
        downs += np.bincount(kinds[1:][put], minlength=5)
    assert (downs[1:] >= 100).all()


def test_cooks_collide() -> None:
    """Two cooks move to the same cell, or each to the other's, and are stopped."""
    one_cell = swaps = 0
    for trace in TRACES:
        kitchen, rows = game_of(trace).kitchen, read_traces(trace)["rows"]
        cells = rows[:-1, :, 1 : 1 + COOK * kitchen.players : COOK]
        ahead = kitchen.goal[read_traces(trace)["actions"], cells]
        for first, second in combinations(range(kitchen.players), 2):
            one_cell += (ahead[..., first] == ahead[..., second]).sum()
            swaps += ((ahead[..., first] == cells[..., second]) & (ahead[..., second] == cells[..., first])).sum()
    assert one_cell >= 1000
    assert swaps >= 100


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layouts_are_the_references(layout: str) -> None:
    reference = LAYOUTS[layout]
    kitchen = layouts.compile_layout(layout, horizon=HORIZON, old_dynamics=False)
    cells = "".join("".join(column) for column in zip(*reference["terrain"], strict=True))
    assert kitchen.terrain.tolist() == [layouts.TERRAIN[cell] for cell in cells]
    assert kitchen.start.tolist() == reference["start"]
    assert {soup: kitchen.payoff[int(soup)] for soup in reference["payoff"]} == reference["payoff"]
    assert {soup: kitchen.cook_time[int(soup)] for soup in reference["time"]} == reference["time"]


def test_no_layout_is_left_out() -> None:
    assert set(LAYOUTS) == set(layouts.built_in()["layouts"])


@pytest.mark.parametrize("layout", layouts.built_in()["jaxmarl"])
def test_kitchens_of_jaxmarl_give_its_results(layout: str) -> None:
    """The same actions lead both cooks to the same cells, and serve soups at the same steps."""
    recorded, kitchen = JAXMARL[layout], Overcooked(layout, horizon=HORIZON)
    kitchen.reset(torch.zeros(1, dtype=torch.int64))
    served, cells = [], ["", ""]
    for step, pair in enumerate(zip(*recorded["actions"], strict=True)):
        turn = kitchen.step(torch.tensor([[int(action) for action in pair]]))
        if turn.reward[0, 0] > 0:
            served.append(step)
        if step < HORIZON - 1:  # the last step opens the next game
            cells = [path + chr(ord("0") + kitchen.rows[0, 1 + COOK * cook]) for cook, path in enumerate(cells)]
    assert served == recorded["served"]
    assert len(served) > 5
    assert cells == [path[:-1] for path in recorded["cells"]]


@pytest.mark.parametrize("layout", layouts.names())
def test_layouts_load_by_name_and_alias(layout: str) -> None:
    game = Overcooked(layout)
    assert game.reset(torch.arange(2)).observation.shape == (2, game.players, *game.observation_shape)
