"""Measures coordination with strangers: self-play against fictitious co-play, with partners that neither has met.

    python benchmarks/zero_shot_coordination.py                                            # the convention game
    python benchmarks/zero_shot_coordination.py --games overcooked --seeds 3 --pairs 8 --pair-steps 250 --steps 500

For each seed, pairs learn by self-play, and a best response to their checkpoints learns as in `solver=fcp`. Partners
are then the pairs of all other seeds and, in Overcooked, scripted cooks. Self-play's row is that of the last pairs
themselves with the same partners. BR-Prox is the return with a partner divided by the best one that anybody in the
table earns with it, an upper bound of ZSC-Eval's measure; its medians (read off its plot, for moderate partners) were
reached in 1e7 steps of self-play and 5e7 to 1e8 of fictitious co-play.

The last line is JSON; a ratio above 1 means that fictitious co-play earns more than self-play with strangers.
"""

import argparse
import json
import time
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.evaluation.coordination import (
    bootstrap_interval,
    cross_play_matrix,
    response_proximity,
    strangers_mean,
)
from marl_engine.numerics.rng import derive_seeds
from marl_engine.runners import LOCAL
from marl_engine.runs.factory import build
from marl_engine.types import Profile
from solvers.zero_shot.partners import SKILLS

ZSC_EVAL = {  # medians of BR-Prox: self-play, FCP with pools of 36
    "overcooked/coordination_ring": (0.33, 0.86),
    "overcooked/counter_circuit": (0.18, 0.70),
    "overcooked/asymmetric_advantages": (0.58, 0.97),
    "overcooked/forced_coordination": (0.73, 0.83),
}


LEAST = 1e-6  # smallest return that others are compared with


class Trained(NamedTuple):
    """What a seed gives: the best response, the final pairs, and what it cost."""

    game: Any
    response: Profile
    pairs: list[Profile]
    steps: int
    seconds: float  # of processor time


def train(name: str, seed: int, plan: argparse.Namespace) -> Trained:
    """Trains pairs and a best response to their checkpoints."""
    keys = [f"game={name}", "solver=fcp", f"solver.pairs={plan.pairs}", f"solver.pair_steps={plan.pair_steps}"]
    parts = build(compose_config("train", [*keys, f"seed={seed}", *plan.keys]))
    start, steps = time.process_time(), 0
    iterations = plan.pair_steps + plan.steps
    for progress in islice(parts.solver.solve(parts.profile, parts.responder), iterations):
        steps += progress.work["steps"]
    pool: Any = parts.solver
    pairs = pool.population.opponents().members[SKILLS - 1 :: SKILLS]
    return Trained(parts.game, parts.profile, [list(each) for each in pairs], steps, time.process_time() - start)


def list_cooks(game: Any) -> dict[str, Profile]:
    """Returns the scripted cooks of a kitchen, by name; none in other games."""
    from games.overcooked import Overcooked
    from games.overcooked.cooks import COOKS, CookPolicy

    if type(game) is not Overcooked:
        return {}
    return {name: [CookPolicy(game.kitchen, skill)] * game.players for name, skill in COOKS.items()}


def measure(trained: list[Trained], place: int, episodes: int, partners: int) -> dict[str, float]:
    """Returns the mean returns of a seed with held-out partners, and their proximities.

    The partners are the first pairs of each other seed; the pairs of the seed itself that meet them are as many.
    """
    own, seeds = trained[place], derive_seeds(2**41, episodes)
    own = own._replace(pairs=own.pairs[:partners])
    strangers = [pair for number, each in enumerate(trained) if number != place for pair in each.pairs[:partners]]
    cooks = list_cooks(own.game)
    met_by_all = [*strangers, *cooks.values()]
    rows = cross_play_matrix(LOCAL, own.game, [own.response, *own.pairs], met_by_all, seeds)
    own_best = [np.diag(cross_play_matrix(LOCAL, own.game, [each], [each], seeds))[0] for each in met_by_all]
    proximity = response_proximity(rows, np.maximum(rows.max(0), own_best))
    met = slice(len(strangers))
    result = {
        "self": float(np.mean([cross_play_matrix(LOCAL, own.game, [p], [p], seeds)[0, 0] for p in own.pairs])),
        "cross": strangers_mean(cross_play_matrix(LOCAL, own.game, own.pairs, own.pairs, seeds)),
        "self_play": float(rows[1:, met].mean()),
        "fcp": float(rows[0, met].mean()),
        "self_play/proximity": float(np.nanmedian(proximity[1:])),
        "fcp/proximity": float(np.nanmedian(proximity[0])),
    }
    for number, name in enumerate(cooks, len(strangers)):
        result |= {f"self_play/{name}": float(rows[1:, number].mean()), f"fcp/{name}": float(rows[0, number])}
    return result


def print_table(name: str, results: list[dict[str, float]], trained: list[Trained], console: Console) -> None:
    """Prints means over seeds with bootstrap intervals."""
    steps, seconds = np.mean([each.steps for each in trained]), np.mean([each.seconds for each in trained])
    title = f"{name}: {len(trained)} seeds, {steps:,.0f} steps and {seconds:.0f} CPU-s each"
    table = Table("measure", "mean", "95 % interval over seeds", title=title)
    for key in results[0]:
        numbers = [each[key] for each in results]
        table.add_row(key, f"{np.mean(numbers):.3g}", "{:.3g} to {:.3g}".format(*bootstrap_interval(numbers)))
    console.print(table)
    if name in ZSC_EVAL:
        console.print("ZSC-Eval's BR-Prox: self-play {}, FCP {}, in 1e7 and 5e7 to 1e8 steps".format(*ZSC_EVAL[name]))


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["convention"], help="presets, such as overcooked")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--pair-steps", type=int, default=15, help="iterations of self-play of each pair")
    parser.add_argument("--steps", type=int, default=40, help="iterations of the best response")
    parser.add_argument("--partners", type=int, default=10, help="pairs of each seed that are met in the measurement")
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--keys", nargs="*", default=[], help="further keys of marl-train")
    plan, console, rows = parser.parse_args(), Console(), []
    for name in plan.games:
        trained = [train(name, seed, plan) for seed in range(plan.seeds)]
        results = [measure(trained, place, plan.episodes, plan.partners) for place in range(plan.seeds)]
        print_table(name, results, trained, console)
        ours, theirs = (float(np.mean([each[key] for each in results])) for key in ("fcp", "self_play"))
        unit = "mean return with pairs of other seeds"
        rows.append(
            {
                "case": name,
                "peer": "self-play",
                "ratio": ours / max(theirs, LEAST),
                "ours": ours,
                "theirs": theirs,
                "unit": unit,
            }
        )
    print(json.dumps({"benchmark": "zero_shot_coordination", "rows": rows}))


if __name__ == "__main__":
    main()
