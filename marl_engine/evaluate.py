"""How good a profile is: whole games by sampled and by greedy play, in both seatings."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.folder import Folder
from marl_engine.noise import spread
from marl_engine.play import score
from marl_engine.sequences import gains, payoffs, plan_of
from marl_engine.tables import strategy_of_any
from marl_engine.types import Game, Metrics, Profile, Runner

SEED = 2**40  # games to be scored share no seed with games to learn from
ROUNDING = 1e-5  # of the largest payoff: sums of float32 numbers that differ by less are the same
EVALUATION = "evaluation/"  # where the records of a run keep what was evaluated
INITIAL = "return/initial"  # what the learner earns in one seat, the others being as they were at first
MEASURES = ("nash_conv", "win_rate/reference", f"{INITIAL}/mean", "return/mean")  # what the best is best by


class Seating(NamedTuple):
    """A match to be scored: who sits where, and how actions are chosen."""

    name: str
    profile: Profile
    greedy: bool = False


def seatings(profile: Profile) -> list[Seating]:
    """As trained, by sampled and by greedy play, and with everybody moved on by a seat."""
    moved = [*profile[1:], profile[0]]
    return [
        Seating("return", profile),
        Seating("return/greedy", profile, greedy=True),
        Seating("return/swapped", moved),
        Seating("return/swapped/greedy", moved, greedy=True),
    ]


def play_whole_games(seating: Seating, game: Game, episodes: int, seed: int = SEED) -> Tensor:
    """Undiscounted payoffs (episodes, P) without shaping."""
    return score(deepcopy(game), seating.profile, spread(seed, episodes), greedy=seating.greedy)


def summarise(name: str, earned: Tensor) -> Metrics:
    """Mean over seats and games of payoffs (episodes, P), and its standard error."""
    mean, error = mean_and_error(earned.mean(1))
    return {f"{name}/mean": mean, f"{name}/stderr": error}


def mean_and_error(numbers: Tensor) -> tuple[float, float]:
    """The mean of numbers (N,) and its standard error, 0 for a single one."""
    error = numbers.std(unbiased=True).item() / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0
    return numbers.mean().item(), error


def sums_are_constant(earned: Tensor) -> bool:
    """Whether payoffs (N, P) of all games have the same sum over the seats, be they rounded to float32."""
    sums = earned.double().sum(1)
    return bool(sums.max() - sums.min() <= ROUNDING * earned.abs().max())


def seats_differ(earned: Tensor) -> bool:
    """Whether a seat earned something else than another in one of N games (N, P)."""
    return bool((earned - earned[:, :1]).abs().max() > ROUNDING * earned.abs().max())


def against(
    initial: Profile, profile: Profile, earned: Tensor, play: Callable[[list[Seating]], list[Tensor]]
) -> Metrics:
    """What each seat earns where the others are as they were at first, if what seats earn sums to a constant.

    There the mean payoff of a profile (N, P) that plays itself says nothing. Empty where sums differ between games.
    """
    if len(profile) < 2 or not sums_are_constant(earned):
        return {}
    seats = range(len(profile))
    alone = play([Seating("", [*initial[:seat], profile[seat], *initial[seat + 1 :]]) for seat in seats])
    together = torch.cat([earned, *alone])
    if not (sums_are_constant(together) and seats_differ(together)):  # a team that has earned nothing yet
        return {}
    means, errors = zip(*(mean_and_error(each[:, seat]) for seat, each in enumerate(alone)), strict=True)
    return {f"{INITIAL}/mean": sum(means) / len(means), f"{INITIAL}/stderr": math.hypot(*errors) / len(errors)}


def solved(game: Any, profile: Profile) -> Metrics:
    """Without playing, for a game in sequence form: payoffs, and how far the profile is from an equilibrium."""
    plan = plan_of(game.form, strategy_of_any(game, profile))
    earned, more = payoffs(game.form, plan), gains(game.form, plan)
    found = {"nash_conv": float(more.sum())}
    found["exploitability"] = found["nash_conv"] / game.players
    found["return/mean"] = float(earned.mean())
    found |= {f"gain/{seat}": float(each) for seat, each in enumerate(more)}
    return found | {f"return/{seat}": float(each) for seat, each in enumerate(earned)}


def evaluate(
    game: Game,
    profile: Profile,
    runner: Runner,
    *,
    episodes: int,
    full: bool = False,
    initial: Profile | None = None,
) -> Metrics:
    """Sampled play as trained, or all seatings, on `episodes` games each; what is exactly so in sequence form.

    With the profile that learning began with, `return/initial` too, where the seats' payoffs sum to a constant.
    """
    if hasattr(game, "form"):
        return solved(game, profile)

    def play(chosen: list[Seating]) -> list[Tensor]:
        return runner.map(partial(play_whole_games, game=game, episodes=episodes), chosen)

    chosen = seatings(profile) if full else seatings(profile)[:1]
    earned = play(chosen)
    metrics: Metrics = {}
    for seating, each in zip(chosen, earned, strict=True):
        metrics |= summarise(seating.name, each)
    metrics |= {f"return/{seat}": each.item() for seat, each in enumerate(earned[0].mean(0))}
    return metrics if initial is None else metrics | against(initial, profile, earned[0], play)


class Best(NamedTuple):
    """The best profile of a run."""

    iteration: int
    score: float  # more is better
    measure: str  # the metric that says so; of NashConv, less is better


def best_of(evaluations: Sequence[tuple[int, Metrics]]) -> Best | None:
    """The best of what was evaluated (iteration, metrics): the last one that is as good as the highest score.

    By NashConv, a win rate, or the return. Where returns sum to a constant, that of a profile against itself says
    nothing: what it earns against the initial one counts, and two standard errors below the highest are as good as it.
    """
    measure = measure_of([metrics for _, metrics in evaluations])
    if measure is None:
        return None
    sign = -1 if measure == "nash_conv" else 1
    scores = [(iteration, sign * each[measure], error_of(measure, each)) for iteration, each in evaluations]
    _, highest, error = max(scores, key=itemgetter(1))
    as_good = [(iteration, score) for iteration, score, own in scores if score >= highest - 2 * math.hypot(error, own)]
    return Best(*as_good[-1], measure)


def evaluations_of(folder: Folder) -> list[tuple[int, Metrics]]:
    """The iterations of a run in which it was evaluated, and what was measured then; at its end, too."""
    evaluations = {
        int(record["iteration"]): {
            name.removeprefix(EVALUATION): each for name, each in record.items() if name.startswith(EVALUATION)
        }
        for record in folder.records()
        if any(name.startswith(EVALUATION) for name in record)
    }
    summary = folder.summary()
    return sorted((evaluations | ({summary["iterations"]: summary} if summary else {})).items())


def measure_of(evaluations: Sequence[Metrics]) -> str | None:
    """The first measure that all evaluations have."""
    return next((name for name in MEASURES if evaluations and all(name in each for each in evaluations)), None)


def error_of(measure: str, metrics: Metrics) -> float:
    """The standard error of a score that is told from others by it; 0 of those that are compared as they are."""
    return metrics[f"{INITIAL}/stderr"] if measure == f"{INITIAL}/mean" else 0.0
