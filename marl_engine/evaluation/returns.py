"""Returns of whole games by sampled and greedy play, in both seatings."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.rollout import score
from marl_engine.types import Game, Metrics, Profile

SEED = 2**40  # games to be scored share no seed with games to learn from
ROUNDING = 1e-5  # of the largest payoff: sums of float32 numbers that differ by less are the same
INITIAL = "return/initial"  # what the learner earns in one seat, the others being as they were at first


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
    return score(deepcopy(game), seating.profile, derive_seeds(seed, episodes), greedy=seating.greedy)


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
