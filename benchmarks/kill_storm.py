"""Kills processes of a run with `runner=ray` at random times, and compares its metrics with those of another run.

    python benchmarks/kill_storm.py
    python benchmarks/kill_storm.py --kills 10 --drivers 0 --seed 1 --pause 10

Actors of Ray that play are killed with SIGKILL, and now and then the process of the run itself, which `resume=` then
continues from its last checkpoint. Afterwards the run ends two iterations later. Its metrics.jsonl has to have the
lines of an undisturbed run with `runner=local`, except for times. The last line is JSON; its ratio is the share of
equal lines.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from subprocess import Popen

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fixtures"))

from command_runs import timeless
from run_processes import MARK, await_that, descendants, start

from marl_engine.runs.folder import RunFolder

GAME = ("game=overcooked", "game.horizon=100", "threads=1", "evaluate_every=50", "save_every=10", "steps=100_000_000")
LEARNING = ("responder.num_envs=32", "responder.rollout_length=64", "responder.shard=8")
RAY = ("runner=ray", "runner.workers=2")
ACTOR, STARTING = "ray::Worker", "ray::Worker.__init__"  # titles of actors
PATIENCE = 240.0  # seconds in which a run has to go on, or to end


class Storm:
    """A run in a folder, whose processes are killed."""

    def __init__(self, home: Path, seed: int):
        self.home, self.draw, self.starts = home, random.Random(seed), 0
        self.folder = RunFolder(home / "runs/storm")
        self.run = self.start(*GAME, *LEARNING, *RAY, "run=storm")

    def start(self, *words: str) -> Popen:
        """Starts a process of the run, with a mark of its own."""
        self.starts += 1
        return start(self.home, *words, **{MARK: self.mark})

    @property
    def mark(self) -> str:
        return f"{self.home}/{self.starts}"

    def kill_actor(self) -> None:
        """Kills one of the actors that play or wait, when there is one."""
        actors: list[int] = []

        def exist() -> bool:
            assert self.run.poll() is None, self.run.communicate()
            starting = descendants(self.mark, STARTING)
            actors[:] = [each for each in descendants(self.mark, ACTOR) if each not in starting]
            return bool(actors)

        await_that(exist, PATIENCE)
        os.kill(self.draw.choice(actors), signal.SIGKILL)

    def kill_driver(self) -> None:
        """Kills the process of the run as soon as it has saved a checkpoint, and resumes the run."""
        before = self.saved()
        await_that(lambda: self.saved() > before, PATIENCE)
        self.run.kill()
        self.run.communicate()
        self.run = self.start("resume=runs/storm")

    def saved(self) -> int:
        """Returns the iteration of the newest checkpoint."""
        return max((int(each.name) for each in self.home.glob("runs/storm/checkpoints/0*")), default=0)

    def end(self) -> int:
        """Stops the run, and lets it take two more iterations; returns their number."""
        self.run.send_signal(signal.SIGINT)
        out, err = self.run.communicate(timeout=PATIENCE)
        assert self.run.returncode == 128 + signal.SIGINT, out + err
        last = self.saved() + 2
        finish(self.start("resume=runs/storm", f"iterations={last}"))
        return last


def finish(run: Popen) -> None:
    """Waits for the end of a run. Raises AssertionError if it fails."""
    out, err = run.communicate()
    assert run.returncode == 0, out + err


def compare(first: RunFolder, second: RunFolder) -> tuple[int, int]:
    """Returns how many lines of metrics.jsonl are equal, except for times, and how many there are at most."""
    own, reference = ([timeless(record) for record in each.records()] for each in (first, second))
    return sum(map(dict.__eq__, own, reference)), max(len(own), len(reference))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--drivers", type=int, default=3, help="how many of them are of the process of the run")
    parser.add_argument("--pause", type=float, default=3.0, help="mean seconds between two; more on a busy machine")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        home, begin = Path(text), time.monotonic()
        storm = Storm(home, plan.seed)
        victims = [storm.kill_driver] * plan.drivers + [storm.kill_actor] * (plan.kills - plan.drivers)
        storm.draw.shuffle(victims)
        for number, kill in enumerate(victims, 1):
            time.sleep(storm.draw.expovariate(1 / plan.pause))
            kill()
            print(f"{time.monotonic() - begin:6.1f} s  {number} killed, {storm.saved()} iterations saved", flush=True)
        seconds, iterations = time.monotonic() - begin, storm.end()
        finish(start(home, *GAME, *LEARNING, "run=local", f"iterations={iterations}"))
        equal, lines = compare(storm.folder, RunFolder(home / "runs/local"))
    print(f"{plan.kills} kills in {seconds:.0f} s: {equal} of {lines} lines of metrics.jsonl are equal")
    row = {"case": "kills", "peer": "local", "ratio": equal / lines, "ours": equal, "theirs": lines, "unit": "lines"}
    print(json.dumps({"benchmark": "kill_storm", "rows": [row]}))


if __name__ == "__main__":
    main()
