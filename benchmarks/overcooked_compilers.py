"""Numba against Warp on the processor: the same rules of Overcooked, with observations, in both.

Measures steps per second on one thread and on two, and the seconds from the start of a process to its first
step, with an empty and with a filled cache of compiled code. Both play the same recorded actions first, and must
end in the same kitchens. Warp needs the environment .peers/warp (`make peers`). What Warp does on a GPU is not
measured here. The last line is JSON; a ratio above 1 means that numba, which this engine uses, leads.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from overcooked_speed import DRAWS, ROOT, Row, ask, last_line, require, show

from games.overcooked import layouts, rules

SCRIPT = "warp_overcooked.py"
BATCHES = (1024, 4096, 16384)
THREADS = (1, 2)
STARTS = 5
RECORDED = (400, 256)  # steps and games that both must play alike
HORIZON = 210  # of these games, so that they start anew on the way and end in the urgent steps
FIRST_STEP = """
import sys, time
import numpy as np
import rules
arrays = np.load(sys.argv[1])
fields = (arrays[name] for name in rules.Kitchen._fields)
kitchen = rules.Kitchen(*(field if field.ndim else int(field) for field in fields))
seen = np.empty((1, *arrays["seen"].shape[1:]), np.uint8)
reward, shaping = np.empty((2, 1, kitchen.players), np.float32)
rows, done = kitchen.start[None].copy(), np.empty(1, bool)
rules.step_games(kitchen, rows, arrays["actions"][0], seen, reward, shaping, done, 0, 1)
print(time.time())
"""


class Games:
    """B kitchens side by side, all at the start."""

    def __init__(self, kitchen: rules.Kitchen, games: int) -> None:
        self.kitchen = kitchen
        self.rows = np.tile(kitchen.start, (games, 1))
        self.seen = np.empty((games, kitchen.players, kitchen.picture.shape[1]), np.uint8)
        self.reward = np.empty((games, kitchen.players), np.float32)
        self.shaping = np.empty((games, kitchen.players), np.float32)
        self.done = np.empty(games, bool)

    def step(self, actions: np.ndarray, first: int, last: int) -> None:
        """Steps games `first` to `last` (excluded)."""
        arrays = (self.rows, actions, self.seen, self.reward, self.shaping, self.done)
        rules.step_games(self.kitchen, *arrays, first, last)


def record(kitchen: rules.Kitchen, folder: str) -> None:
    """Writes the kitchen, and random actions with what they lead to, where Warp will look for them.

    Cooks interact more often than at random, so that soups are served.
    """
    games = RECORDED[1]
    here = Games(kitchen, games)
    chances = [0.15, 0.15, 0.15, 0.15, 0.05, 0.35]
    actions = np.random.default_rng(0).choice(6, (*RECORDED, kitchen.players), p=chances)
    earned = np.zeros((2, games, kitchen.players), np.float32)
    for each in actions:
        here.step(each, 0, games)
        earned += np.stack([here.reward, here.shaping])
    arrays = kitchen._asdict() | {"actions": actions, "rows": here.rows, "seen": here.seen, "earned": earned}
    np.savez(Path(folder) / "game.npz", **arrays)


def rate(kitchen: rules.Kitchen, games: int, threads: int, seconds: float) -> float:
    """Steps per second of so many games, shared among threads."""
    here = Games(kitchen, games)
    actions = np.random.default_rng(0).integers(0, 6, (DRAWS, games, kitchen.players))
    bounds = [games * share // threads for share in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            list(pool.map(here.step, repeat(actions[calls % DRAWS]), bounds, bounds[1:]))
            calls += 1
        return calls * games / (time.perf_counter() - start)


def speeds(kitchen: rules.Kitchen, seconds: float) -> list[float]:
    """The best speeds; thread counts and batch sizes share the seconds."""
    each = seconds / len(THREADS) / len(BATCHES)
    return [max(rate(kitchen, games, threads, each) for games in BATCHES) for threads in THREADS]


def compare(layout: str, repeats: int, seconds: float) -> list[Row]:
    """Both compilers in turn, `repeats` times. Raises RuntimeError if their rules differ."""
    ours, theirs = [], []
    with TemporaryDirectory() as folder:
        kitchen = layouts.compiled(layout, horizon=HORIZON, old_dynamics=None)
        record(kitchen, folder)
        for _ in range(repeats):
            ours.append(speeds(kitchen, seconds))
            answer = ask("warp", SCRIPT, folder, seconds)
            if not answer["agrees"]:
                raise RuntimeError(f"Warp and numba disagree in {layout} after {RECORDED[0]} steps")
            theirs.append(answer["steps_per_second"])
    mine, yours = (np.median(each, axis=0).tolist() for each in (ours, theirs))
    cases = [f"{layout}, {threads} thread{'s' * (threads > 1)}" for threads in THREADS]
    return [Row(case, "Warp", m / y, m, y, "steps/s") for case, m, y in zip(cases, mine, yours, strict=True)]


def numba_start(folder: str) -> float:
    """When a fresh process finished its first step under numba, which keeps compiled code in the folder."""
    command = [sys.executable, "-c", FIRST_STEP, f"{folder}/game.npz"]
    where = ROOT / "games" / "overcooked"
    variables = {**os.environ, "NUMBA_CACHE_DIR": folder}
    done = subprocess.run(command, cwd=where, env=variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


def seconds_to(finish: Callable[[str], float], folder: str) -> list[float]:
    """Seconds that STARTS processes took to their first step; the first of them finds no compiled code."""
    seconds = []
    for _ in range(STARTS):
        start = time.time()
        seconds.append(finish(folder) - start)
    return seconds


def starts(layout: str) -> list[Row]:
    """Seconds from the start of a process to its first step."""
    with TemporaryDirectory() as folder:
        record(layouts.compiled(layout, horizon=HORIZON, old_dynamics=None), folder)
        ours = seconds_to(numba_start, folder)
        theirs = seconds_to(lambda folder: ask("warp", SCRIPT, folder)["done"], folder)
    cold = Row("first step, empty cache", "Warp", theirs[0] / ours[0], ours[0], theirs[0], "s")
    mine, yours = median(ours[1:]), median(theirs[1:])
    return [cold, Row("first step, filled cache", "Warp", yours / mine, mine, yours, "s", f"{STARTS - 1} starts")]


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layouts", nargs="+", default=["cramped_room", "counter_circuit"], metavar="LAYOUT")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each compiler (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts (default 2)")
    options = parser.parse_args()
    require(["warp"])
    rows = starts(options.layouts[0])
    for layout in options.layouts:
        rows += compare(layout, options.repeats, options.seconds)
    show("Overcooked with observations: numba (ours) and Warp (theirs)", "compiler", rows)
    print(last_line("overcooked_compilers", rows))


if __name__ == "__main__":
    main()
