"""Compares solvers on small games with network policies trained by PPO, by exact NashConv, and with OpenSpiel's.

    python benchmarks/deep_nash.py --games kuhn_poker --solvers nash_md self_play --seeds 5
    python benchmarks/deep_nash.py --games liars_dice --solvers mmd nfsp --seeds 1 --peers nfsp psro

Every run is `marl-train game=GAME solver=SOLVER policy=network seed=SEED`, in one process. The
baseline is self-play with an entropy bonus. NashConv is exact; it is given for the last iterate and for the average
strategy, whose realization plan is the mean of those of all iterates. (The iterates of nfsp are averages already.) A
goal is reached when the mean of the last 20 NashConvs is at most the goal. CPU seconds include the computation of
NashConv. OpenSpiel's NFSP (torch) and its PSRO (exact responses, 1000 games for each payoff) are given the CPU seconds
of the slowest solver, for each seed, without the computation of NashConv. The last line is JSON; a ratio above 1 means
that a solver's last iterate is nearer to equilibrium than the other one.
"""

import argparse
import time
from statistics import median
from typing import NamedTuple

import numpy as np
from side_by_side import Row, format_json, require_peers, run_peer

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.extensive_form.sequence_form import behavior_strategy, nash_conv, realization_plan
from marl_engine.policies.strategy import extract_strategy
from marl_engine.runs.factory import build

GOALS = {"kuhn_poker": 0.05, "leduc_poker": 0.5, "liars_dice": 0.3}
BASELINE = "self_play"
SOLVERS = ("nash_md", "mirror_prox", "inpo", BASELINE)  # mmd has the settings of inpo, and is then the same
WINDOW = 20  # iterations whose mean is compared with a goal


class Outcome(NamedTuple):
    """The result of one run."""

    last: float  # NashConv of the last iterate
    average: float  # NashConv of the average strategy
    seconds: float  # CPU seconds
    goal_seconds: float | None  # CPU seconds until the goal; None: not reached
    steps: int


def run(game: str, solver: str, seed: int, keys: list[str]) -> Outcome:
    """Runs a solver for as many steps as the game's preset sets; `keys` are further keys of marl-train."""
    choice = [f"game={game}", f"solver={solver}", "policy=network", "responder=ippo", f"seed={seed}"]
    config = compose_config("train", [*choice, *keys])
    parts = build(config)
    form = parts.game.form
    total, curve, goal_seconds = np.zeros(form.sequences), [], None
    start = time.process_time()
    for progress in parts.solver.solve(parts.profile, parts.responder):
        plan = realization_plan(form, extract_strategy(parts.game, progress.profile))
        total += plan
        curve.append(nash_conv(form, plan))
        seconds = time.process_time() - start
        if goal_seconds is None and len(curve) >= WINDOW and np.mean(curve[-WINDOW:]) <= GOALS[game]:
            goal_seconds = seconds
        if parts.responder.work["steps"] >= config["steps"]:
            break
    average = nash_conv(form, realization_plan(form, behavior_strategy(form, total)))
    return Outcome(curve[-1], average, seconds, goal_seconds, parts.responder.work["steps"])


def run_openspiel(peer: str, game: str, seconds: float, seed: int) -> float:
    """Returns the NashConv of a solver of OpenSpiel after a number of CPU seconds."""
    arguments = (game, seconds, seed) if peer == "nfsp" else ("nash", game, 1000, 10_000, seconds, seed)
    return run_peer("openspiel", f"openspiel_{peer}.py", *arguments, OMP_NUM_THREADS="1")["curve"][-1][-1]


def summarise(outcomes: list[Outcome], goal: float) -> str:
    """Returns a row of the table: medians over runs, and in brackets the lowest and the highest value."""
    last, seconds = sorted(each.last for each in outcomes), median(each.seconds for each in outcomes)
    times = [each.goal_seconds for each in outcomes if each.goal_seconds is not None]
    time_to_goal = f"{median(times):.0f} s" if len(times) > len(outcomes) / 2 else "-"
    average = median(each.average for each in outcomes)
    return (
        f"{median(last):.3f} ({last[0]:.3f} to {last[-1]:.3f}) | {average:.3f} | {time_to_goal} ({len(times)} of "
        f"{len(outcomes)} below {goal}) | {seconds:.0f} s | {outcomes[0].steps / 1e6:.1f} M"
    )


def compare(game: str, results: dict[str, list[Outcome]], peers: list[str]) -> list[Row]:
    """Returns the rows of a game: each solver beside self-play and beside OpenSpiel's solvers, which are run here."""
    medians = {solver: median(each.last for each in outcomes) for solver, outcomes in results.items()}
    slowest = max(median(each.seconds for each in outcomes) for outcomes in results.values())
    seeds = range(max(map(len, results.values())))
    others = {BASELINE: medians[BASELINE]} if BASELINE in medians else {}
    for peer in peers:
        distances = sorted(run_openspiel(peer, game, slowest, seed) for seed in seeds)
        others[f"OpenSpiel {peer}"] = median(distances)
        row = f"{median(distances):.3f} ({distances[0]:.3f} to {distances[-1]:.3f}) | - | - | {slowest:.0f} s | -"
        print(f"| OpenSpiel {peer} | {row} |", flush=True)
    pairs = [(solver, other) for solver in medians for other in others if solver != other]
    return [
        Row(f"{game}, {solver}", other, others[other] / medians[solver], medians[solver], others[other], "nash_conv")
        for solver, other in pairs
    ]


def main() -> None:
    """Runs all solvers and seeds, and prints a table in Markdown and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["kuhn_poker"], choices=sorted(GOALS))
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=[], choices=["nfsp", "psro"], help="solvers of OpenSpiel")
    parser.add_argument("--keys", nargs="*", default=[], help="further keys of marl-train")
    options = parser.parse_args()
    require_peers(["openspiel"] if options.peers else [])
    rows: list[Row] = []
    for game in options.games:
        print(f"| {game} | last | average | goal | processor | steps |\n|---|---|---|---|---|---|", flush=True)
        results = {}
        for solver in options.solvers:
            results[solver] = [run(game, solver, seed, options.keys) for seed in range(options.seeds)]
            print(f"| {solver} | {summarise(results[solver], GOALS[game])} |", flush=True)
        rows += compare(game, results, options.peers)
    print(format_json("deep_nash", rows))


if __name__ == "__main__":
    main()
