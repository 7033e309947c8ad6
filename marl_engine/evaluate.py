"""How good a profile is: whole games by sampled and by greedy play, in both seatings."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch

from marl_engine.noise import spread
from marl_engine.play import score
from marl_engine.sequences import best_responses, payoffs, plan_of
from marl_engine.tables import TablePolicy, strategy_in, tabulated
from marl_engine.types import Game, Metrics, Profile, Runner

SEED = 2**40  # games to be scored share no seed with games to learn from


class Seating(NamedTuple):
    """A match to be scored: who sits where, and how actions are chosen."""

    name: str
    seats: tuple[int, ...]  # seat i is taken by the profile's policy for seats[i]
    greedy: bool


def seatings(players: int) -> list[Seating]:
    """As trained, by sampled and by greedy play, and with everybody moved on by a seat."""
    straight, moved = tuple(range(players)), tuple((seat + 1) % players for seat in range(players))
    return [
        Seating("return", straight, False),
        Seating("return/greedy", straight, True),
        Seating("return/swapped", moved, False),
        Seating("return/swapped/greedy", moved, True),
    ]


def measure(seating: Seating, game: Game, profile: Profile, episodes: int, seed: int = SEED) -> Metrics:
    """Mean over seats and games of the undiscounted payoff without shaping, and its standard error."""
    seated = [profile[seat] for seat in seating.seats]
    earned = score(deepcopy(game), seated, spread(seed, episodes), greedy=seating.greedy)
    means = earned.mean(1)  # (episodes,)
    spread_of_mean = means.std(unbiased=True) / episodes**0.5 if episodes > 1 else torch.zeros(())
    found = {f"{seating.name}/mean": means.mean().item(), f"{seating.name}/stderr": spread_of_mean.item()}
    if seating.name == "return":
        found |= {f"return/{seat}": each.item() for seat, each in enumerate(earned.mean(0))}
    return found


def solved(game: Any, profile: Profile) -> Metrics:
    """Without playing, for a game in sequence form: payoffs, and how far the profile is from an equilibrium."""
    tables = all(isinstance(policy, TablePolicy) for policy in profile)
    plan = plan_of(game.form, strategy_in(profile) if tables else tabulated(game, profile))
    earned, best = payoffs(game.form, plan), best_responses(game.form, plan)
    found = {"nash_conv": float((best - earned).sum())}
    found["exploitability"] = found["nash_conv"] / game.players
    found["return/mean"] = float(earned.mean())
    return found | {f"return/{seat}": float(each) for seat, each in enumerate(earned)}


def merit(found: Metrics, place: str = "") -> float | None:
    """What the best checkpoint is best by: NashConv, where it is known (less is better), a win rate, or the return."""
    if f"{place}nash_conv" in found:
        return -found[f"{place}nash_conv"]
    if f"{place}win_rate/reference" in found:
        return found[f"{place}win_rate/reference"]
    return found.get(f"{place}return/mean")


def evaluate(game: Game, profile: Profile, runner: Runner, *, episodes: int, seatings: Sequence[Seating]) -> Metrics:
    """All of the seatings, on `episodes` games each; or, where the game is in sequence form, what is exactly so."""
    if hasattr(game, "form"):
        return solved(game, profile)
    found: Metrics = {}
    for part in runner.map(partial(measure, game=game, profile=profile, episodes=episodes), seatings):
        found |= part
    return found
