"""Measures how near to equilibrium methods that learn from comparisons come with the same number of queries.

    python benchmarks/preference_table.py --only INPO "Nash-MD b=.125" --seeds 5
    python benchmarks/preference_table.py --draw              # only redraw the picture in docs/

The game is `preference/tiny`: 27 sentences in classes that beat each other in a circle, and a language model that is so
small that distances from equilibrium are exact. Methods run with their presets and the changes in METHODS. The learning
rates in FAMILIES come from one search (docs/preferences.md). The policy is evaluated SNAPSHOTS times in a run, and
distances are means over the last ones.

`gap` is the duality gap of the game regularised with weight TAU, and `nash_conv` that of the game without
regularisation. `target_gap` is the distance from the solution that a method converges to in theory, so a method should
be judged by it. Results are saved in docs/tiny_table.json. The last line is JSON; the exit code is 1 if a claim of the
theory does not hold.
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
TAU = 0.05  # magnet weight
SNAPSHOTS, LAST = 200, 20  # evaluations of a run, and number of the last ones over which distances are averaged
PASSES, BATCH = 8, 512  # offline methods: passes over all comparisons, and comparisons in a gradient step
START = "start"
FAMILIES = {"gradient": (0.007, 0.0003), "pairs": (0.007, 0.0003), "offline": (0.001, 0.001)}  # learning rates
MAGNET = f"solver.magnet_weight={TAU}"
# About 128 comparisons in an iteration for methods with one gradient step: prompts by the number of comparisons that
# they make for each prompt (1, 2, 4, 6).
ONE, TWO, FOUR, SIX = ([f"responder.prompts={count}"] for count in (128, 64, 32, 21))
# Methods that approach a closed form take 8 gradient steps in an iteration.
INNER = ["responder.prompts=256", "responder.minibatches=4", "responder.epochs=2"]


class Method(NamedTuple):
    """A solver's preset, the kind of solution that it converges to, and changes to the preset."""

    preset: str
    target: str  # a key of TARGETS; empty: none
    family: str
    overrides: list[str]


METHODS = {
    "self-play": Method("mmd", "regularised", "gradient", [MAGNET, "solver.step_size=inf", *ONE]),
    "RLOO": Method("rloo", "regularised", "gradient", [MAGNET, *SIX]),
    "GRPO": Method("grpo", "", "gradient", [MAGNET, *SIX]),
    "Nash-MD b=.125": Method("nash_md", "mixture 1/8", "gradient", [MAGNET, *TWO, "solver.step_size=2.5"]),
    "Nash-MD b=.5": Method("nash_md", "mixture 1/2", "gradient", [MAGNET, *TWO, "solver.step_size=10"]),
    "best response": Method("best_response", "response", "gradient", [MAGNET, *TWO]),
    "Nash-EMA": Method("nash_ema", "regularised", "gradient", [MAGNET, *TWO]),
    "Nash-MP": Method("mirror_prox", "regularised", "gradient", [MAGNET, *FOUR]),
    "Nash Prox": Method(
        "nash_prox", "regularised", "gradient", [MAGNET, "solver.step_size=5", "solver.keep=0.95", *ONE]
    ),
    "mirror descent, magnet_weight 0": Method(
        "mmd", "average", "gradient", ["solver.step_size=2", "solver.magnet_weight=0", *INNER]
    ),
    "SPO": Method("spo", "average", "gradient", TWO),
    "INPO": Method("inpo", "regularised", "pairs", [MAGNET, *INNER]),
    "INPO tournament": Method(
        "inpo", "regularised", "pairs", [MAGNET, *INNER, "responder.pairs=tournament", "responder.answers=8"]
    ),
    "online IPO": Method("online_ipo", "regularised", "pairs", [MAGNET, *ONE]),
    "online DPO": Method("online_dpo", "", "pairs", [MAGNET, *ONE]),
    "XPO": Method("xpo", "", "pairs", [MAGNET, *ONE]),
    "SPPO": Method("sppo", "average", "pairs", INNER),
    "DNO": Method("dno", "average", "pairs", INNER),
    "DNO-Prct": Method("dno_prct", "", "pairs", INNER),
    "COMAL": Method("comal", "equilibrium", "pairs", [MAGNET, "solver.move_every=50", *INNER]),
    "IPO offline": Method("ipo", "response", "offline", [MAGNET]),
    "DPO offline": Method("dpo", "", "offline", [MAGNET]),
    "SimPO offline": Method("simpo", "", "offline", []),
}
CONVERGENT = ("self-play", "Nash-MD b=.125", "INPO", "Nash-MP")  # claim: they end below a tenth of the initial gap


class Run(NamedTuple):
    """The game and the result of a run."""

    preference: np.ndarray  # (A, A): how often the row is preferred to the column, minus 1/2
    reference: np.ndarray  # (A,)
    strategies: np.ndarray  # (SNAPSHOTS, A)
    queries: int


def duality_gap(preference: np.ndarray, strategy: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """Returns 2 [tau * log sum_a reference exp(q / tau) + tau * KL(strategy || reference)], q = preference @ strategy.

    This is the sum of what both players gain by best responses, with tau = `magnet_weight`. At 0 it is NashConv,
    2 max q.
    """
    if magnet_weight == 0:
        return float(2 * (preference @ strategy).max())
    value = best_value(preference @ strategy, reference, magnet_weight)
    return float(2 * (value + magnet_weight * kl_divergence(strategy, reference)))


def best_value(wins: np.ndarray, reference: np.ndarray, magnet_weight: float) -> float:
    """Returns tau * log sum_a reference exp(wins / tau): the maximum over pi of pi @ wins - tau * KL(pi || reference).

    Here tau is `magnet_weight`.
    """
    return float(magnet_weight * np.log(reference @ np.exp(wins / magnet_weight)))


def kl_divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Returns KL(first || second) of distributions (A,)."""
    return float(first @ np.log(np.maximum(first, 1e-300) / second))


def regularised_gap(run: Run) -> float:
    """Returns the duality gap of the regularised game."""
    gaps = [duality_gap(run.preference, strategy, run.reference, TAU) for strategy in run.strategies[-LAST:]]
    return float(np.mean(gaps))


def last_nash_conv(run: Run) -> float:
    """Returns the NashConv of the last strategies."""
    return float(np.mean([duality_gap(run.preference, each, run.reference, 0.0) for each in run.strategies[-LAST:]]))


def average_nash_conv(run: Run) -> float:
    """Returns the NashConv of the average strategy; without a magnet, theory promises nothing about the last one."""
    return duality_gap(run.preference, run.strategies.mean(0), run.reference, 0.0)


def response_gap(run: Run) -> float:
    """Returns what the regularised best response to the reference would gain."""
    wins = run.preference @ run.reference
    values = [strategy @ wins - TAU * kl_divergence(strategy, run.reference) for strategy in run.strategies[-LAST:]]
    return float(best_value(wins, run.reference, TAU) - np.mean(values))


def mixture_gap(run: Run, weight: float) -> float:
    """Returns the gap of strategy^(1 - weight) * reference^weight at TAU / (1 - weight), which Nash-MD brings to 0."""
    odds = run.strategies[-LAST:] ** (1 - weight) * run.reference**weight
    mixtures = odds / odds.sum(-1, keepdims=True)
    gaps = [duality_gap(run.preference, mixture, run.reference, TAU / (1 - weight)) for mixture in mixtures]
    return float(np.mean(gaps))


TARGETS: dict[str, Callable[[Run], float]] = {  # distances from the kinds of solutions
    "regularised": regularised_gap,
    "equilibrium": last_nash_conv,
    "average": average_nash_conv,
    "response": response_gap,
    "mixture 1/8": partial(mixture_gap, weight=1 / 8),
    "mixture 1/2": partial(mixture_gap, weight=1 / 2),
}


def build_parts(method: Method, seed: int, queries: int) -> Components:
    """Returns the components of a run as in `marl-train`, except that the responder does not compute NashConv."""
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
def answer_probabilities(policy: Any) -> np.ndarray:
    """Returns the probability of each answer, (A,)."""
    return policy.log_probs(policy.answer_tokens, policy.answer_tokens).sum(-1).double().exp().numpy()


def run_method(method: Method, seed: int, queries: int) -> Run:
    """Runs a method for a number of comparisons, and evaluates the policy after equal shares of them.

    For an offline method these are shares of its passes over the comparisons.
    """
    parts = build_parts(method, seed, queries)
    policy, strategies = parts.profile[0], list[np.ndarray]()
    reference = answer_probabilities(policy)
    for progress in parts.solver.solve(parts.profile, parts.responder):
        offline = method.family == "offline"
        share = progress.iteration / PASSES if offline else parts.responder.work["queries"] / queries
        strategies += [answer_probabilities(policy)] * (int(min(share, 1) * SNAPSHOTS) - len(strategies))
        if share >= 1:
            break
    preference: np.ndarray = parts.game.earns[0].numpy()  # type: ignore[attr-defined]
    return Run(preference, reference, np.array(strategies), parts.responder.work["queries"])


def make_row(name: str, runs: list[Run]) -> dict[str, Any]:
    """Returns means over runs, and the standard deviation of their gaps."""
    target, gaps = METHODS[name].target, [regularised_gap(run) for run in runs]
    distances = [last_nash_conv(run) for run in runs]
    row = {"gap": np.mean(gaps), "gap_spread": np.std(gaps), "nash_conv": np.mean(distances)}
    row |= {"target_gap": np.mean([TARGETS[target](run) for run in runs])} if target else {}
    numbers = {key: float(f"{number:.3g}") for key, number in row.items()}
    return {"case": name, **numbers, "queries": round(np.mean([run.queries for run in runs])), "seeds": len(runs)}


def make_start_row(run: Run) -> dict[str, Any]:
    """Returns the row of the reference, with which all methods begin."""
    distances = {
        key: duality_gap(run.preference, run.reference, run.reference, weight)
        for key, weight in (("gap", TAU), ("nash_conv", 0))
    }
    numbers = {key: float(f"{distance:.3g}") for key, distance in distances.items()}
    return {"case": START, **numbers, "gap_spread": 0.0, "queries": 0, "seeds": 0}


def print_table(rows: Iterable[dict[str, Any]]) -> None:
    """Prints a table of all rows."""
    table = Table("method", "gap", "over seeds", "nash_conv", "target", "gap to target", "queries")
    for row in rows:
        target = METHODS[row["case"]].target if row["case"] in METHODS else ""
        numbers = (f"{row[key]:.4f}" for key in ("gap", "gap_spread", "nash_conv"))
        target_gap = f"{row['target_gap']:.4f}" if "target_gap" in row else "–"
        table.add_row(row["case"], *numbers, target or "–", target_gap, f"{row['queries']:,}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def draw(rows: list[dict[str, Any]]) -> None:
    """Draws the gap of every method, the smallest at the top, and its gap in the game that it solves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start, methods = rows[0], sorted(rows[1:], key=lambda row: -row["gap"])
    names = [row["case"] for row in methods]
    colours = ["tab:blue" if METHODS[name].target == "regularised" else "tab:grey" for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    axes.barh(names, [row["gap"] for row in methods], xerr=[row["gap_spread"] for row in methods], color=colours)
    points = [row for row in methods if "target_gap" in row and METHODS[row["case"]].target != "regularised"]
    gaps, cases = ([row[key] for row in points] for key in ("target_gap", "case"))
    axes.plot(gaps, cases, "D", color="tab:red", label="in the game that it solves")
    axes.axvline(start["gap"], color="black", linestyle=":", label="start")
    axes.set(xscale="log", xlabel="gap of the regularised game (blue: the game that the method solves)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper right")
    figure.savefig(PICTURE, dpi=110)


def failed_claims(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the claims of the theory that do not hold, as sentences."""
    gaps = {row["case"]: row["gap"] for row in rows}
    start = gaps[START]
    results = [
        f"{name} ends at {gaps[name] / start:.3f} of the start, not below a tenth"
        for name in CONVERGENT
        if name in gaps and not gaps[name] < start / 10
    ]
    if gaps.get("best response", 1.0) <= start:
        results.append("the best response to the reference does not end above its start")
    return results


def main() -> int:
    """Runs the methods, redraws the picture, and prints a table and a line of JSON. Returns the exit code."""
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
            runs = [run_method(METHODS[name], seed, options.queries) for seed in range(options.seeds)]
            rows |= {START: make_start_row(runs[0]), name: make_row(name, runs)}
            RECORD.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    table = [rows[name] for name in (START, *METHODS) if name in rows]
    draw(table)
    print_table(table)
    failures = failed_claims(table)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"benchmark": "preference_table", "rows": table}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
