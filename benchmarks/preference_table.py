"""How near to equilibrium each method comes that learns from comparisons of answers, at equal queries.

The game is `preference/tiny`: 27 sentences whose classes beat each other in a circle, and a language model so small
that its distance from equilibrium is exact. Methods are run as their presets are but for what METHODS says, with the
same number of comparisons each; the learning rates of the three FAMILIES were searched for once (docs/preferences.md).
A run is looked at LOOKS times, and its last looks are averaged.

`gap` is that of the game regularised with PULL, `nash_conv` that of the game itself, `own` what is left to gain in the
game that a method solves, which is what to judge it by. Results are kept in docs/tiny_table.json, from which `--draw`
redraws the picture. The last line is JSON; the exit code is 1 if a claim of the theory fails.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.runs.factory import Components, build

ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE = (ROOT / "docs" / name for name in ("tiny_table.json", "tiny_table.png"))
PULL = 0.05  # tau
LOOKS, LAST = 200, 20  # at a run, and those of them that count
PASSES, BATCH = 8, 512  # over what was asked, and comparisons in a step, of those who ask only once
START = "start"
FAMILIES = {"gradient": (0.007, 0.0003), "pairs": (0.007, 0.0003), "offline": (0.001, 0.001)}  # learning rates
HELD = f"solver.magnet_weight={PULL}"
# those that step once in an iteration ask for about 128 comparisons; the others take 8 steps towards one closed form
TWO, THEIRS, GROUP = ["responder.prompts=128"], ["responder.prompts=64"], ["responder.prompts=21"]
TWICE = ["responder.prompts=32"]  # both of Mirror-Prox's steps
INNER = ["responder.prompts=256", "responder.minibatches=4", "responder.epochs=2"]


class Method(NamedTuple):
    """A solver's preset, what it solves, and where it departs from the preset."""

    preset: str
    solves: str
    family: str
    overrides: list[str]


METHODS = {
    "self-play": Method("mmd", "regularised", "gradient", [HELD, "solver.step_size=inf", *TWO]),
    "RLOO": Method("rloo", "regularised", "gradient", [HELD, *GROUP]),
    "GRPO": Method("grpo", "", "gradient", [HELD, *GROUP]),
    "Nash-MD b=.125": Method("nash_md", "mixture 1/8", "gradient", [HELD, *THEIRS, "solver.step_size=2.5"]),
    "Nash-MD b=.5": Method("nash_md", "mixture 1/2", "gradient", [HELD, *THEIRS, "solver.step_size=10"]),
    "best response": Method("best_response", "response", "gradient", [HELD, *THEIRS]),
    "Nash-EMA": Method("nash_ema", "regularised", "gradient", [HELD, *THEIRS]),
    "Nash-MP": Method("mirror_prox", "regularised", "gradient", [HELD, *TWICE]),
    "Nash Prox": Method("nash_prox", "regularised", "gradient", [HELD, "solver.step_size=5", "solver.keep=0.95", *TWO]),
    "mirror descent, magnet_weight 0": Method(
        "mmd", "average", "gradient", ["solver.step_size=2", "solver.magnet_weight=0", *INNER]
    ),
    "SPO": Method("spo", "average", "gradient", THEIRS),
    "INPO": Method("inpo", "regularised", "pairs", [HELD, *INNER]),
    "INPO tournament": Method(
        "inpo", "regularised", "pairs", [HELD, *INNER, "responder.pairs=tournament", "responder.answers=8"]
    ),
    "online IPO": Method("online_ipo", "regularised", "pairs", [HELD, *TWO]),
    "online DPO": Method("online_dpo", "", "pairs", [HELD, *TWO]),
    "XPO": Method("xpo", "", "pairs", [HELD, *TWO]),
    "SPPO": Method("sppo", "average", "pairs", INNER),
    "DNO": Method("dno", "average", "pairs", INNER),
    "DNO-Prct": Method("dno_prct", "", "pairs", INNER),
    "COMAL": Method("comal", "itself", "pairs", [HELD, "solver.move_every=50", *INNER]),
    "IPO offline": Method("ipo", "response", "offline", [HELD]),
    "DPO offline": Method("dpo", "", "offline", [HELD]),
    "SimPO offline": Method("simpo", "", "offline", []),
}
BELOW = ("self-play", "Nash-MD b=.125", "INPO", "Nash-MP")  # a tenth of the start


class Run(NamedTuple):
    """What is known of a run: the game, the reference, what was answered, and the queries that it took."""

    preference: np.ndarray  # (A, A) less 1/2
    reference: np.ndarray  # (A,)
    looks: np.ndarray  # (LOOKS, A)
    queries: int


def gap(preference: np.ndarray, strategy: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """2 [pull * log sum_a reference exp(q / pull) + pull * KL(strategy || reference)], q = preference @ strategy.

    The most that both players gain by best responses; for magnet_weight 0 it is NashConv, 2 max q.
    """
    if magnet_weight == 0:
        return float(2 * (preference @ strategy).max())
    return float(
        2 * (best(preference @ strategy, reference, magnet_weight) + magnet_weight * divergence(strategy, reference))
    )


def best(wins: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """pull * log sum_a reference exp(wins / pull): the most that is wins - pull * KL(choice || reference)."""
    return float(magnet_weight * np.log(reference @ np.exp(wins / magnet_weight)))


def divergence(one: np.ndarray, other: np.ndarray) -> float:
    """KL(one || other), of (A,)."""
    return float(one @ np.log(np.maximum(one, 1e-300) / other))


def regularised(run: Run) -> float:
    """The gap of the regularised game."""
    return float(np.mean([gap(run.preference, each, run.reference, PULL) for each in run.looks[-LAST:]]))


def itself(run: Run) -> float:
    """NashConv."""
    return float(np.mean([gap(run.preference, each, run.reference, 0.0) for each in run.looks[-LAST:]]))


def average(run: Run) -> float:
    """NashConv of the average of what was played: all that is promised where nothing attracts."""
    return gap(run.preference, run.looks.mean(0), run.reference, 0.0)


def response(run: Run) -> float:
    """What a best response to the reference would gain, held near it."""
    wins = run.preference @ run.reference
    now = [each @ wins - PULL * divergence(each, run.reference) for each in run.looks[-LAST:]]
    return float(best(wins, run.reference, PULL) - np.mean(now))


def mixture(run: Run, weight: float) -> float:
    """The gap of strategy^(1 - weight) * reference^weight at PULL / (1 - weight), where Nash-MD's is 0."""
    odds = run.looks[-LAST:] ** (1 - weight) * run.reference**weight
    mixed = odds / odds.sum(-1, keepdims=True)
    return float(np.mean([gap(run.preference, each, run.reference, PULL / (1 - weight)) for each in mixed]))


SOLVES: dict[str, Callable[[Run], float]] = {
    "regularised": regularised,
    "itself": itself,
    "average": average,
    "response": response,
    "mixture 1/8": partial(mixture, weight=1 / 8),
    "mixture 1/2": partial(mixture, weight=1 / 2),
}


def parts_of(method: Method, seed: int, queries: int) -> Components:
    """A run as `marl-train` makes it, but that it does not measure itself: that is done here, and less often."""
    first, last = FAMILIES[method.family]
    settings = [
        *method.overrides,
        f"responder.learning_rate={{start:{first},end:{last},over:{queries}}}",
        f"seed={seed}",
    ]
    if method.family == "offline":
        settings += [f"responder.prompts={queries}", f"responder.minibatches={max(queries // BATCH, 1)}"]
    parts = build(
        compose_config("train", [f"solver={method.preset}", "game=preference/tiny", "policy=tiny", *settings])
    )
    parts.responder.form = None  # type: ignore[attr-defined]
    return parts


@torch.no_grad()
def answers(writer: Any) -> np.ndarray:
    """How probable each answer is, (A,)."""
    return writer.log_probs(writer.answer_tokens, writer.answer_tokens).sum(-1).double().exp().numpy()


def played(method: Method, seed: int, queries: int) -> Run:
    """A whole run, looked at after equal shares of its comparisons, or of its passes."""
    parts = parts_of(method, seed, queries)
    writer, looks = parts.profile[0], list[np.ndarray]()
    reference = answers(writer)
    for progress in parts.solver.solve(parts.profile, parts.responder):
        settings = parts.responder.work["queries"] / queries
        share = progress.iteration / PASSES if method.family == "offline" else settings
        looks += [answers(writer)] * (int(min(share, 1) * LOOKS) - len(looks))
        if share >= 1:
            break
    return Run(parts.game.earns[0].numpy(), reference, np.array(looks), parts.responder.work["queries"])  # type: ignore


def row_of(name: str, runs: list[Run]) -> dict[str, Any]:
    """Means over runs, and the standard deviation of their gaps."""
    solves, gaps = METHODS[name].solves, [regularised(run) for run in runs]
    row = {"gap": np.mean(gaps), "gap_spread": np.std(gaps), "nash_conv": np.mean([itself(run) for run in runs])}
    row |= {"own": np.mean([SOLVES[solves](run) for run in runs])} if solves else {}
    numbers = {key: float(f"{number:.3g}") for key, number in row.items()}
    return {"case": name, **numbers, "queries": round(np.mean([run.queries for run in runs])), "seeds": len(runs)}


def start_of(run: Run) -> dict[str, Any]:
    """The row of the reference, where all begin."""
    distances = {
        key: gap(run.preference, run.reference, run.reference, pull) for key, pull in (("gap", PULL), ("nash_conv", 0))
    }
    return {
        "case": START,
        **{key: float(f"{each:.3g}") for key, each in distances.items()},
        "gap_spread": 0.0,
        "queries": 0,
        "seeds": 0,
    }


def show(rows: Iterable[dict[str, Any]]) -> None:
    """A table of all rows."""
    table = Table("method", "gap", "over seeds", "nash_conv", "solves", "in its own game", "queries")
    for row in rows:
        solves = METHODS[row["case"]].solves if row["case"] in METHODS else ""
        numbers = (f"{row[key]:.4f}" for key in ("gap", "gap_spread", "nash_conv"))
        own = f"{row['own']:.4f}" if "own" in row else "–"
        table.add_row(row["case"], *numbers, solves or "–", own, f"{row['queries']:,}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def draw(rows: list[dict[str, Any]]) -> None:
    """The gap of every method, the nearest to equilibrium first; beside it what is left in the game that it solves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start, others = rows[0], sorted(rows[1:], key=lambda row: -row["gap"])
    names = [row["case"] for row in others]
    colours = ["tab:blue" if METHODS[name].solves == "regularised" else "tab:grey" for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    axes.barh(names, [row["gap"] for row in others], xerr=[row["gap_spread"] for row in others], color=colours)
    own = [row for row in others if "own" in row and METHODS[row["case"]].solves != "regularised"]
    axes.plot(
        [row["own"] for row in own],
        [row["case"] for row in own],
        "D",
        color="tab:red",
        label="in the game that it solves",
    )
    axes.axvline(start["gap"], color="black", linestyle=":", label="start")
    axes.set(xscale="log", xlabel="gap of the regularised game (blue: the game that the method solves)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper right")
    figure.savefig(PICTURE, dpi=110)


def broken(rows: list[dict[str, Any]]) -> list[str]:
    """The claims that do not hold, as sentences."""
    gaps = {row["case"]: row["gap"] for row in rows}
    start = gaps[START]
    results = [
        f"{name} ends at {gaps[name] / start:.3f} of the start, not below a tenth"
        for name in BELOW
        if name in gaps and not gaps[name] < start / 10
    ]
    if gaps.get("best response", 1.0) <= start:
        results.append("the best response to the reference does not end above its start")
    return results


def main() -> int:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=200_000, help="comparisons of each run (default 200,000)")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--draw", action="store_true", help="only redraw the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {row["case"]: row for row in json.loads(RECORD.read_text())} if RECORD.exists() else {}
    if not options.draw:
        for name in options.only:
            runs = [played(METHODS[name], seed, options.queries) for seed in range(options.seeds)]
            rows |= {START: start_of(runs[0]), name: row_of(name, runs)}
            RECORD.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    ordered = [rows[name] for name in (START, *METHODS) if name in rows]
    draw(ordered)
    show(ordered)
    failures = broken(ordered)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"benchmark": "preference_table", "rows": ordered}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
