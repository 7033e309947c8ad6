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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from marl_engine.build import Setting, setting
from marl_engine.commands.configuration import composed

ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE = (ROOT / "docs" / name for name in ("tiny_table.json", "tiny_table.png"))
PULL = 0.05  # tau
LOOKS, LAST = 200, 20  # at a run, and those of them that count
PASSES = 8  # over what was asked, of those who ask only once
FAMILIES = {"gradient": (0.05, 0.001), "pairs": (0.05, 0.001), "offline": (0.002, 0.002)}  # learning rates
HELD = f"solver.pull={PULL}"
# 128 comparisons for each step of those that step once in an iteration; eight steps towards one closed form for the others
TWO, THEIRS, GROUP = ["responder.prompts=128"], ["responder.prompts=64"], ["responder.prompts=21"]
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
    "GRPO": Method("grpo", "regularised", "gradient", [HELD, *GROUP]),
    "Nash-MD b=.125": Method("nash_md", "mixture", "gradient", [HELD, *THEIRS, "solver.step_size=2.5"]),
    "Nash-MD b=.5": Method("nash_md", "mixture", "gradient", [HELD, *THEIRS, "solver.step_size=10"]),
    "best response": Method("best_response", "response", "gradient", [HELD, *THEIRS]),
    "Nash-EMA": Method("nash_ema", "regularised", "gradient", [HELD, *THEIRS]),
    "Nash-MP": Method("mirror_prox", "regularised", "gradient", [HELD, *THEIRS]),
    "Nash Prox": Method("nash_prox", "regularised", "gradient", [HELD, *TWO]),
    "MDPO": Method("mmd", "average", "gradient", ["solver.step_size=2", "solver.pull=0", *INNER]),
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
    "COMAL": Method("comal", "itself", "pairs", [HELD, *INNER]),
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


def gap(preference: np.ndarray, strategy: np.ndarray, reference: np.ndarray, pull: float) -> float:
    """2 [pull * log sum_a reference exp(q / pull) + pull * KL(strategy || reference)], q = preference @ strategy.

    The most that both players gain by best responses; for pull 0 it is NashConv, 2 max q.
    """
    if pull == 0:
        return float(2 * (preference @ strategy).max())
    return float(2 * (best(preference @ strategy, reference, pull) + pull * divergence(strategy, reference)))


def best(wins: np.ndarray, reference: np.ndarray, pull: float) -> float:
    """pull * log sum_a reference exp(wins / pull): the most that is wins - pull * KL(choice || reference)."""
    return float(pull * np.log(reference @ np.exp(wins / pull)))


def divergence(one: np.ndarray, other: np.ndarray) -> float:
    """KL(one || other), of (A,)."""
    return float(one @ np.log(np.maximum(one, 1e-300) / other))


def regularised(run: Run, method: Method) -> float:
    """The gap of the regularised game."""
    return float(np.mean([gap(run.preference, each, run.reference, PULL) for each in run.looks[-LAST:]]))


def itself(run: Run, method: Method) -> float:
    """NashConv."""
    return float(np.mean([gap(run.preference, each, run.reference, 0.0) for each in run.looks[-LAST:]]))


def average(run: Run, method: Method) -> float:
    """NashConv of the average of what was played: all that is promised where nothing attracts."""
    return gap(run.preference, run.looks.mean(0), run.reference, 0.0)


def response(run: Run, method: Method) -> float:
    """What a best response to the reference would gain, held near it."""
    wins = run.preference @ run.reference
    now = [each @ wins - PULL * divergence(each, run.reference) for each in run.looks[-LAST:]]
    return float(best(wins, run.reference, PULL) - np.mean(now))


def mixture(run: Run, method: Method) -> float:
    """The gap of the mixture ~ strategy^(1 - b) reference^b in the game with pull / (1 - b), of which it is the equilibrium."""
    weight = PULL * float(method.overrides[-1].split("=")[1])
    odds = run.looks[-LAST:] ** (1 - weight) * run.reference**weight
    mixed = odds / odds.sum(-1, keepdims=True)
    return float(np.mean([gap(run.preference, each, run.reference, PULL / (1 - weight)) for each in mixed]))


SOLVES: dict[str, Callable[[Run, Method], float]] = {
    "regularised": regularised,
    "itself": itself,
    "average": average,
    "response": response,
    "mixture": mixture,
}


def parts_of(method: Method, seed: int, queries: int) -> Setting:
    """A run as `marl-train` makes it, but for measuring itself: that is done here, and less often."""
    first, last = FAMILIES[method.family]
    rate = f"responder.learning_rate={{start:{first},end:{last},over:{queries}}}"
    own = method.overrides
    if method.family == "offline":
        own = [*own, f"responder.prompts={queries}", f"responder.minibatches={max(queries // 512, 1)}"]
    parts = setting(composed("train", [f"solver={method.preset}", "game=preference/tiny", "policy=tiny", *own, rate, f"seed={seed}"]))
    parts.responder.form = None
    return parts


@torch.no_grad()
def answers(writer: Any) -> np.ndarray:
    """How probable each answer is, (A,)."""
    return writer.log_probs(writer.every, writer.every).sum(-1).double().exp().numpy()


def played(method: Method, seed: int, queries: int) -> Run:
    """A whole run, looked at at equal distances."""
    parts, looks = parts_of(method, seed, queries), []
    writer, once = parts.profile[0], method.family == "offline"
    reference = answers(writer)
    for progress in parts.solver.solve(parts.profile, parts.responder):
        share = progress.iteration / PASSES if once else parts.responder.steps / queries
        looks += [answers(writer)] * (int(min(share, 1) * LOOKS) - len(looks))
        if share >= 1:
            break
    return Run(parts.game.earns[0].numpy(), reference, np.array(looks), parts.responder.steps)
