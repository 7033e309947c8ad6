"""Steps per second of Overcooked, observations written, beside overcooked-ai and JaxMARL on the same machine.

The three take turns, and medians are reported, so that a slow minute of the machine strikes them alike. Each
peer runs in its own environment (`make peers`), and is compared with the same rules here: pots light themselves
in JaxMARL, and wait for a cook in overcooked-ai. The last line is JSON; a ratio above 1 means this engine leads.
"""

import argparse
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from side_by_side import ROOT, Row, ask, last_line, require, show

from games.overcooked import Overcooked

BATCHES = (64, 1024, 4096, 8192, 16384)
DRAWS = 32  # joint actions drawn in advance, played in a circle
STARTS = 5
TARGET = 2.0  # seconds from the start of a process to its first step
FIRST_STEP = """
import time, torch
from games.overcooked import Overcooked
game = Overcooked()
game.step(torch.zeros(1, 2, dtype=torch.int64))
print(time.time())
"""


class Peer(NamedTuple):
    """Somebody else's Overcooked."""

    name: str
    environment: str  # under .peers
    script: str
    automatic: bool  # a full pot lights itself
    layouts: dict[str, str]  # its own names, where they differ


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


def rate(game: Overcooked, games: int, seconds: float) -> float:
    """Steps per second of so many games side by side."""
    actions = torch.randint(game.actions, (DRAWS, games, game.players))
    game.reset(torch.arange(games))
    game.step(actions[0])
    calls, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        game.step(actions[calls % DRAWS])
        calls += 1
    return calls * games / (time.perf_counter() - start)


def best(layout: str, automatic: bool, seconds: float) -> tuple[float, int]:
    """The speed at the best batch size, and that size; the sizes share the seconds."""
    game = Overcooked(layout, old_dynamics=automatic)
    return max((rate(game, games, seconds / len(BATCHES)), games) for games in BATCHES)


def compare(layout: str, repeats: int, seconds: float, cache: str) -> list[Row]:
    """Ours and each peer in turn, `repeats` times; JAX keeps compiled programs in the folder `cache`."""
    keep = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    ours: list[list[tuple[float, int]]] = [[] for _ in PEERS]
    theirs: list[list[dict[str, Any]]] = [[] for _ in PEERS]
    for _ in range(repeats):
        for number, peer in enumerate(PEERS):
            ours[number].append(best(layout, peer.automatic, seconds / len(PEERS)))
            name = peer.layouts.get(layout, layout)
            theirs[number].append(ask(peer.environment, peer.script, name, seconds, **keep))
    return [row_of(layout, *each) for each in zip(PEERS, ours, theirs, strict=True)]


def row_of(layout: str, peer: Peer, ours: list[tuple[float, int]], theirs: list[dict[str, Any]]) -> Row:
    """The medians of what was measured in turn."""
    mine = median(speed for speed, _ in ours)
    yours = median(answer["steps_per_second"] for answer in theirs)
    note = f"{max(ours)[1]} games at once"
    if "games" in theirs[0]:
        note += f"; theirs {max(theirs, key=lambda answer: answer['steps_per_second'])['games']}"
        note += f", compiled in {theirs[0]['compile_seconds']:.1f} s"
    return Row(layout, peer.name, mine / yours, mine, yours, "steps/s", note)


def first_step() -> Row:
    """Seconds from the start of a process to its first step, its compiled rules cached by an earlier process.

    In turn with processes that do no more than import torch, for that is most of it.
    """
    ours, torchs = [], []
    for _ in range(STARTS + 1):
        for code, seconds in ((FIRST_STEP, ours), ("import time, torch; print(time.time())", torchs)):
            start = time.time()
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout) - start)
    mine, torch_alone = median(ours[1:]), median(torchs[1:])
    note = f"{STARTS} starts; import torch alone {torch_alone:.2f} s"
    return Row("start to first step", f"target {TARGET:g} s", TARGET / mine, mine, TARGET, "s", note)


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, metavar="LAYOUT")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each engine (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts (default 2)")
    options = parser.parse_args()
    require(peer.environment for peer in PEERS)
    rows = [first_step()]
    with TemporaryDirectory() as cache:
        for layout in options.layouts:
            rows += compare(layout, options.repeats, options.seconds, cache)
    show(f"Overcooked with observations, {torch.get_num_threads()} cores", "peer", rows)
    print(last_line("overcooked_speed", rows))


if __name__ == "__main__":
    main()
