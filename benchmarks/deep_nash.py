"""NashConv of networks on small poker games: solvers of tables, moved by PPO, beside self-play with an entropy bonus.

Every run is `marl-train game=GAME solver=SOLVER policy=network seed=SEED`, in one process.
NashConv is exact, of the last iterate and of the mean of the plans of all iterates. A goal counts as reached when the
mean of the last 20 NashConvs is at most the goal. Processor seconds include what is measured. The last line is JSON; a
ratio above 1 means that a solver is nearer to equilibrium than self-play.
"""

import argparse
import time
from statistics import median
from typing import NamedTuple

import numpy as np
from side_by_side import Row, last_line

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.extensive_form.sequence_form import behavior_strategy, nash_conv, realization_plan
from marl_engine.policies.strategy import extract_strategy
from marl_engine.runs.factory import build

GOALS = {"kuhn_poker": 0.05, "leduc_poker": 0.5}
BASELINE = "self_play"
SOLVERS = ("nash_md", "mirror_prox", "inpo", BASELINE)  # mmd has the settings of inpo, and is then the same
WINDOW = 20  # iterations whose mean is compared with a goal


class Outcome(NamedTuple):
    """What one run came to."""

    last: float
    average: float
    seconds: float  # of the processor
    reached: float | None  # seconds until the goal
    steps: int


def run(game: str, solver: str, seed: int, keys: list[str]) -> Outcome:
    """A run of a solver to the length that the preset of the game sets."""
    choice = [f"game={game}", f"solver={solver}", "policy=network", "responder=ippo", f"seed={seed}"]
    config = compose_config("train", [*choice, *keys])
    parts = build(config)
    form = parts.responder.form
    total, curve, reached = np.zeros(form.sequences), [], None
    start = time.process_time()
    for progress in parts.solver.solve(parts.profile, parts.responder):
        total += realization_plan(form, extract_strategy(parts.game, progress.profile))
        curve.append(progress.metrics["nash_conv"])
        seconds = time.process_time() - start
        if reached is None and len(curve) >= WINDOW and np.mean(curve[-WINDOW:]) <= GOALS[game]:
            reached = seconds
        if parts.responder.work["steps"] >= config["steps"]:
            break
    average = nash_conv(form, realization_plan(form, behavior_strategy(form, total)))
    return Outcome(curve[-1], average, seconds, reached, parts.responder.work["steps"])


def summarise(outcomes: list[Outcome], goal: float) -> str:
    """A row of the table: medians, and in brackets the lowest and the highest."""
    last, seconds = sorted(each.last for each in outcomes), median(each.seconds for each in outcomes)
    reached = [each.reached for each in outcomes if each.reached is not None]
    when = f"{median(reached):.0f} s" if len(reached) > len(outcomes) / 2 else "-"
    average = median(each.average for each in outcomes)
    return (
        f"{median(last):.3f} ({last[0]:.3f} to {last[-1]:.3f}) | {average:.3f} | {when} ({len(reached)} of "
        f"{len(outcomes)} below {goal}) | {seconds:.0f} s | {outcomes[0].steps / 1e6:.1f} M"
    )


def main() -> None:
    """Runs solvers and seeds one after the other, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", nargs="+", default=["kuhn_poker"], choices=sorted(GOALS))
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keys", nargs="*", default=[], help="further keys of marl-train")
    options = parser.parse_args()
    rows: list[Row] = []
    for game in options.games:
        print(f"| {game} | last | average | goal | processor | steps |\n|---|---|---|---|---|---|", flush=True)
        medians = {}
        for solver in options.solvers:
            outcomes = [run(game, solver, seed, options.keys) for seed in range(options.seeds)]
            medians[solver] = median(each.last for each in outcomes)
            print(f"| {solver} | {summarise(outcomes, GOALS[game])} |", flush=True)
        for solver in options.solvers:
            if solver != BASELINE and BASELINE in medians:
                ours, theirs = medians[solver], medians[BASELINE]
                rows.append(Row(f"{game}, {solver}", BASELINE, theirs / ours, ours, theirs, "nash_conv"))
    print(last_line("deep_nash", rows))


if __name__ == "__main__":
    main()
