"""Returns of whole games by sampled and greedy play, in both seatings."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from marl_engine.evaluation.report import RETURNS, Report, View, lineups
from marl_engine.evaluation.scores import INITIAL, score_of
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.types import Game, Metrics, Profile, Runner

SEED = 2**40  # games to be scored share no seed with games to learn from
ROUNDING = 1e-5  # of the largest payoff: sums of float32 numbers that differ by less are the same


class Seating(NamedTuple):
    """A match to be scored: who sits where, and how actions are chosen."""

    name: str
    profile: Profile
    greedy: bool = False


def seatings(profile: Profile) -> list[Seating]:
    """As trained, by sampled and by greedy play; where there are several seats, also with everybody moved on by one."""
    chosen = {"return": profile} | ({"return/swapped": [*profile[1:], profile[0]]} if len(profile) > 1 else {})
    return [
        Seating(f"{name}{'/greedy' if greedy else ''}", seated, greedy)
        for name, seated in chosen.items()
        for greedy in (False, True)
    ]


class ReturnEvaluator:
    """What profiles earn in whole games, without shaping or discount.

    Where the seats' payoffs sum to a constant, also what each policy earns among the others of the reference.
    """

    view = View(
        panels=(RETURNS,),
        shown={
            "evaluation/return/initial/mean": ("against where it began", ".3g"),
            "evaluation/return/mean": ("return", ".1f"),
            "return/mean": ("return", ".1f"),
        },
        beside={},
    )

    def __init__(self, game: Game, reference: Profile | None, runner: Runner, episodes: int):
        self.game, self.reference, self.runner, self.episodes = game, reference, runner, episodes

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """See `Evaluator`: sampled play as trained, or in full all that `seatings` names."""
        chosen = seatings(profile) if full else seatings(profile)[:1]
        earned = self._play(chosen)
        metrics: Metrics = {}
        for seating, each in zip(chosen, earned, strict=True):
            metrics |= summarise(seating.name, each)
        metrics |= {f"return/{seat}": each.item() for seat, each in enumerate(earned[0].mean(0))}
        if self.reference is not None:
            metrics |= against(self.reference, profile, earned[0], self._play)
        return Report(metrics, score_of(metrics), headline(metrics, self.episodes, len(profile)))

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """See `Evaluator`."""
        return [[self._meet(row, column) for column in profiles] for row in profiles]

    def _meet(self, row: Profile, column: Profile) -> tuple[float, float]:
        """What the row earns on average, and the standard error, by playing."""
        earned = self._play([Seating("", each) for each in lineups(row, column)])
        return mean_and_error(torch.stack([each[:, seat] for seat, each in enumerate(earned)]).mean(0))

    def _play(self, chosen: list[Seating]) -> list[Tensor]:
        """Payoffs (episodes, P) of each."""
        lineups = [Lineup(each.profile, each.greedy) for each in chosen]
        return score_lineups(self.runner, self.game, lineups, derive_seeds(SEED, self.episodes))


def headline(metrics: Metrics, episodes: int, players: int) -> tuple[str, str]:
    """The return, and what was played."""
    mean = f"{metrics['return/mean']:.4g} ± {metrics['return/stderr']:.2g}"
    if f"{INITIAL}/mean" in metrics:
        mean = f"{metrics[f'{INITIAL}/mean']:.4g} ± {metrics[f'{INITIAL}/stderr']:.2g}"
        whole = f"all returns sum to {metrics['return/mean'] * players:.4g}"
        return f"return {mean}", f"against where it began, sampled ({episodes} games from each seat; {whole})"
    if "return/greedy/mean" not in metrics:
        return f"return {mean}", f"sampled ({episodes} games)"
    greedy = f"{metrics['return/greedy/mean']:.4g} ± {metrics['return/greedy/stderr']:.2g}"
    moved = f"; seats swapped {metrics['return/swapped/mean']:.4g}" if players > 1 else ""
    return f"return {mean}", f"sampled, {greedy} greedy ({episodes} games each{moved})"


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
