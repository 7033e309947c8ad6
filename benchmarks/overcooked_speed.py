"""Compares the speed of Overcooked with overcooked-ai and JaxMARL: steps per second, observations included.

    python benchmarks/overcooked_speed.py --layouts cramped_room --repeats 3

The three programs run in turn on the same machine, and medians are reported, so that a slow minute affects all of them.
Each peer has its own environment (`make peers`), and is compared with the same rules in marl_engine: full pots start by
themselves in JaxMARL, and are started by a cook in overcooked-ai. A first row gives the seconds from the start of a
process to its first step. The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from side_by_side import ROOT, Row, format_json, print_table, require_peers, run_peer

from games.overcooked import Overcooked

BATCHES = (64, 1024, 4096, 8192, 16384)
DRAWS = 32  # number of joint actions that are drawn in advance and repeated
STARTS = 5
TARGET = 2.0  # goal for the seconds from the start of a process to its first step
FIRST_STEP = """
import time, torch
from games.overcooked import Overcooked
game = Overcooked()
game.step(torch.zeros(1, 2, dtype=torch.int64))
print(time.time())
"""


class Peer(NamedTuple):
    """Another implementation of Overcooked."""

    name: str
    environment: str  # under .peers
    script: str
    automatic: bool  # full pots start by themselves
    layouts: dict[str, str]  # its names of layouts, where they differ


PEERS = (
    Peer(
        "overcooked-ai 1.1.0",
        "overcooked_ai",
        "overcooked_ai_steps.py",
        automatic=False,
        layouts={"counter_circuit": "counter_circuit_o_1order"},
    ),
    Peer(
        "JaxMARL 0.2.0",
        "jaxmarl",
        "jaxmarl_steps.py",
        automatic=True,
        layouts={
            "asymmetric_advantages": "asymm_advantages",
            "coordination_ring": "coord_ring",
            "forced_coordination": "forced_coord",
        },
    ),
)
LAYOUTS = ("cramped_room", "asymmetric_advantages", "coordination_ring", "forced_coordination", "counter_circuit")


def measure_speed(game: Overcooked, games: int, seconds: float) -> float:
    """Returns steps per second of a number of games that are stepped together, measured for `seconds`."""
    actions = torch.randint(game.actions, (DRAWS, games, game.players))
    game.reset(torch.arange(games))
    game.step(actions[0])
    calls, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        game.step(actions[calls % DRAWS])
        calls += 1
    return calls * games / (time.perf_counter() - start)


def find_best_batch(layout: str, automatic: bool, seconds: float) -> tuple[float, int]:
    """Returns the highest speed over batch sizes, and its batch size. The sizes share the seconds."""
    game = Overcooked(layout, old_dynamics=automatic)
    return max((measure_speed(game, games, seconds / len(BATCHES)), games) for games in BATCHES)


def compare(layout: str, repeats: int, seconds: float, cache: str) -> list[Row]:
    """Measures marl_engine and each peer in turn, `repeats` times. `cache` is a folder for programs compiled by JAX."""
    variables = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    speeds: list[list[tuple[float, int]]] = [[] for _ in PEERS]
    replies: list[list[dict[str, Any]]] = [[] for _ in PEERS]
    for _ in range(repeats):
        for number, peer in enumerate(PEERS):
            speeds[number].append(find_best_batch(layout, peer.automatic, seconds / len(PEERS)))
            name = peer.layouts.get(layout, layout)
            replies[number].append(run_peer(peer.environment, peer.script, name, seconds, **variables))
    return [make_row(layout, *each) for each in zip(PEERS, speeds, replies, strict=True)]


def make_row(layout: str, peer: Peer, speeds: list[tuple[float, int]], replies: list[dict[str, Any]]) -> Row:
    """Returns the row of a peer: medians of speeds (steps per second, batch size), and of the peer's replies."""
    value = median(speed for speed, _ in speeds)
    peer_value = median(reply["steps_per_second"] for reply in replies)
    note = f"{max(speeds)[1]} games at once"
    if "games" in replies[0]:
        note += f"; peer {max(replies, key=lambda reply: reply['steps_per_second'])['games']}"
        note += f", compiled in {replies[0]['compile_seconds']:.1f} s"
    return Row(layout, peer.name, value / peer_value, value, peer_value, "steps/s", note)


def measure_start() -> Row:
    """Returns the row with the seconds from the start of a process to its first step.

    The compiled rules are cached by an earlier process. Most of the time is `import torch`, which is measured in turn
    and given in the note.
    """
    seconds, torch_seconds = [], []
    for _ in range(STARTS + 1):
        for code, times in ((FIRST_STEP, seconds), ("import time, torch; print(time.time())", torch_seconds)):
            start = time.time()
            process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
            times.append(float(process.stdout) - start)
    value = median(seconds[1:])
    note = f"{STARTS} starts; import torch alone {median(torch_seconds[1:]):.2f} s"
    return Row("start to first step", f"target {TARGET:g} s", TARGET / value, value, TARGET, "s", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, metavar="LAYOUT")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a measurement (default 2)")
    options = parser.parse_args()
    require_peers(peer.environment for peer in PEERS)
    rows = [measure_start()]
    with TemporaryDirectory() as cache:
        for layout in options.layouts:
            rows += compare(layout, options.repeats, options.seconds, cache)
    print_table(f"Overcooked with observations, {torch.get_num_threads()} cores", "peer", rows)
    print(format_json("overcooked_speed", rows))


if __name__ == "__main__":
    main()
