"""Measures a step of the page of marl-play: the policies decide, the game is stepped and drawn, the message is written.

    python benchmarks/play_latency.py --threads 2
    python benchmarks/play_latency.py --threads 1 --processor    # on a machine that is busy with other work

Policies are those that training begins with; how long they take does not depend on what they have learned. A ratio
above 1 means that a step takes less than the bound of 50 ms, in its median and, in a row of its own, at its slowest of
a hundred.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from side_by_side import Row, format_json, print_table

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.play.activities import PlayedGame
from marl_engine.play.messages import Press
from marl_engine.runs.factory import build
from marl_engine.runs.players import Player

BOUND = 50.0  # milliseconds
CASES = {
    "Overcooked, cramped_room": ("game=overcooked",),
    "Overcooked, counter_circuit, GRU": ("game=overcooked/counter_circuit", "policy=gru"),
    "connect four": ("game=connect_four",),
    "Leduc poker, a table": ("game=leduc_poker",),
}


def measure_steps(player: Player, folder: Path, steps: int, clock: Callable[[], float]) -> list[float]:
    """Returns the milliseconds of steps of games in which a person takes the first legal action, in order."""
    times: list[float] = []
    seed = 0
    while len(times) < steps:
        game = PlayedGame(player, folder / "games.jsonl", seat=0, name="bench", seed=seed, pace=0.0)
        seed += 1
        while not game.over and len(times) < steps:
            if game.waits():
                game.take(Press(type="press", action=game.table.moves(0)[0].action))
            start = clock()
            game.advance()
            json.dumps(game.scene())
            times.append(1000 * (clock() - start))
    return sorted(times[10:])  # the first ones fill caches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--processor", action="store_true", help="measure processor time")
    options = parser.parse_args()
    clock = time.process_time if options.processor else time.perf_counter
    torch.set_num_threads(options.threads)
    rows = []
    for case, keys in CASES.items():
        config = compose_config("train", [*keys, "seed=0"])
        parts = build(config)
        player = Player("runs/untrained", parts.profile, parts.game, config, config, parts.reference, 0)
        with TemporaryDirectory() as folder:
            times = measure_steps(player, Path(folder), options.steps, clock)
        for name, share in (("median", 0.5), ("1 % slowest", 0.99)):
            milliseconds = times[int(share * len(times))]
            rows.append(Row(f"{case}, {name}", "bound", BOUND / milliseconds, milliseconds, BOUND, "ms"))
    print_table("A step of the page of marl-play", "compared with", rows)
    print(format_json("play_latency", rows))


if __name__ == "__main__":
    main()
