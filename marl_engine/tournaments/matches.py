"""Matches: the games of two entrants on some deals, as pure jobs that every runner plays alike.

A deal is one seed. On each deal a pair plays one game in every seating (common random numbers), so that neither luck
nor the seat favours an entrant. With two seats there are two seatings. With more, each entrant sits once in each seat
while the other one sits in all others. Each pair has deals of its own, so that the errors of pairs are independent, as
ratings take them to be: with common deals an entrant would be lucky or unlucky against all opponents at once.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from hashlib import blake2b
from itertools import takewhile
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.rng import derive_seeds
from marl_engine.ratings.results import tally_payoffs
from marl_engine.rollout.rollout import score
from marl_engine.rollout.seating import Seating, SeatMemory, Seats
from marl_engine.tournaments.answers import judge_match, judges_texts
from marl_engine.tournaments.baselines import Bot
from marl_engine.tournaments.entrants import Entrant
from marl_engine.types import Argument, Game, Memory, Profile, Result, Runner, Turn

DEALS = 2**43  # separates the seeds of tournaments from those of learning and evaluation
FIRST_LOOK = 32  # deals before the ranking is looked at; doubled for every further look
LONGEST = 1024  # deals in a stretch,
LONGEST_IF_SLOW = 32  # and if an entrant is slow
PACE = 0.5  # seconds of play between two writes
TOGETHER = 256  # jobs that a runner is given at once


class Match(NamedTuple):
    """Games of two entrants: the argument of a pure job."""

    game: Game
    first: Entrant
    second: Entrant
    seeds: Tensor  # (D,) int64 of the deals


class EntrantSeating:
    """The entrants in the seats of B games; see `seating.Seats`. Seats of bots are played by them."""

    def __init__(self, profile: Profile, games: int, device: torch.device, *, game: Game, bots: Sequence[Bot | None]):
        self.profile, self.seating, self.game, self.bots = profile, Seating(profile, games, device), game, bots
        self.draws: Memory = None
        self.played = torch.tensor([bot is None for bot in bots], device=device)  # (P,) by policies

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (B, P, …) and log-probabilities (B, P), those of bots being 0."""
        action, log_prob = self.seating.decide(turn._replace(acting=turn.acting & self.played), noise, greedy)
        for bot in dict.fromkeys(bot for bot in self.bots if bot is not None):
            own = torch.tensor([each is bot for each in self.bots], device=noise.device)
            action = torch.where(own, bot(self.game, turn, noise), action)
        return action, log_prob * self.played

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the policies before a turn."""
        return self.seating.seat_memory(turn)


def seatings(players: int) -> np.ndarray:
    """Returns the seats (K, P) bool of the first entrant in each seating."""
    alone = np.eye(players, dtype=bool)
    return alone if players == 2 else np.concatenate([alone, ~alone])


def deal_seeds(seed: int, begin: int, end: int, entrants: Sequence[Entrant] = ()) -> Tensor:
    """Returns the seeds of deals `begin` to `end` of some entrants, in any order, or those that all have in common."""
    return derive_seeds(seed + DEALS, end)[begin:] ^ (deal_key(entrants) if entrants else 0)


def deal_key(entrants: Sequence[Entrant]) -> int:
    """Returns 64 bits, as a signed number, by which the seeds of entrants differ from those that all have in common."""
    digests = " ".join(sorted(each.digest for each in entrants))
    return int.from_bytes(blake2b(digests.encode(), digest_size=8).digest(), "little", signed=True)


def play_match(match: Match) -> np.ndarray:
    """Returns the tally (9,) of a match. An entrant against itself plays all seats, once on each deal."""
    game: Any = match.game
    if judges_texts(game):
        return judge_match(game, match.first.profile, match.second.profile, match.seeds)
    if match.first.digest == match.second.digest:
        everybody = np.ones((1, match.game.players), dtype=bool)
        return tally_payoffs(*(2 * [play_seating(match, everybody[0]).mean(1, keepdims=True).T]))
    sides = seatings(match.game.players)
    payoffs = np.stack([play_seating(match, side) for side in sides])  # (K, D, P)
    return tally_payoffs(*(side_means(payoffs, each) for each in (sides, ~sides)))


def play_seating(match: Match, side: np.ndarray) -> np.ndarray:
    """Returns payoffs (D, P) in a seating whose seats `side` (P,) belong to the first entrant."""
    return play_seated(match.game, [match.first if own else match.second for own in side], match.seeds)


def play_seated(game: Any, seated: Sequence[Entrant], seeds: Tensor) -> np.ndarray:
    """Returns payoffs (D, P) of games with seeds (D,) in which P entrants sit in the seats."""
    game = deepcopy(game)
    profile, take_seats = seat_entrants(game, seated)
    return score(game, profile, seeds, take_seats=take_seats).double().numpy()


def seat_entrants(game: Game, seated: Sequence[Entrant]) -> tuple[Profile, Callable[..., Seats]]:
    """Returns the profile of P entrants in the seats of a game, and how they take them; see `rollout.score`."""
    profile, bots = [each.profile[seat] for seat, each in enumerate(seated)], [each.bot for each in seated]
    if all(bot is None for bot in bots):
        return profile, Seating
    return profile, partial(EntrantSeating, game=game, bots=bots)


def side_means(payoffs: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Returns the mean payoffs (K, D) of the seats `sides` (K, P) from payoffs (K, D, P)."""
    means: np.ndarray = (payoffs * sides[:, None]).sum(-1) / sides.sum(-1)[:, None]
    return means


class Stretch(NamedTuple):
    """Deals `begin` to `end` of some entrants, which one job plays."""

    entrants: tuple[int, ...]
    begin: int
    end: int


class StageProgress(NamedTuple):
    """How far a stage of a tournament is."""

    stage: str
    games: int  # played, those in the store included
    planned: int


def list_stretches(entrants: tuple[int, ...], begin: int, end: int, slow: bool) -> Iterator[Stretch]:
    """Yields the stretches of entrants from deal `begin` to `end`. They end at fixed places; see `cuts`."""
    for stop in cuts(end, LONGEST_IF_SLOW if slow else LONGEST):
        if stop > begin:
            yield Stretch(entrants, begin, stop)
            begin = stop


def cuts(end: int, longest: int) -> Iterator[int]:
    """Yields where stretches up to `end` stop: at 32, 64, 128, … deals, at multiples of `longest`, and at the end."""
    at = 0
    while at < end:
        look = FIRST_LOOK
        while look <= at:
            look *= 2
        at = min(look, at - at % longest + longest, end)
        yield at


def play_stretches(
    stage: str,
    stretches: Sequence[Stretch],
    planned: int,
    seatings: int,
    alike: Callable[[Stretch, Stretch], bool],
    play: Callable[[Sequence[Stretch]], Iterator[int]],
) -> Iterator[StageProgress]:
    """Plays the stretches of a stage with `planned` deals in order, and yields how far it is after every write.

    `play` plays stretches that are `alike` and follow each other, and yields how many it has just stored.
    """
    played = planned - sum(each.end - each.begin for each in stretches)
    yield StageProgress(stage, played * seatings, planned * seatings)
    while stretches:
        together = list(takewhile(partial(alike, stretches[0]), stretches))
        stretches = stretches[len(together) :]
        for number in play(together):
            played += number * (together[0].end - together[0].begin)
            yield StageProgress(stage, played * seatings, planned * seatings)


def portions(stretches: Sequence[Stretch]) -> Iterator[Sequence[Stretch]]:
    """Yields stretches in portions that take about PACE seconds each, by the time until the next one is asked for."""
    size = 1
    while stretches:
        begin = perf_counter()
        yield stretches[:size]
        stretches = stretches[size:]
        size = max(1, min(2 * size, int(size * PACE / max(perf_counter() - begin, 1e-9))))


def play_on_tree(
    seed: int,
    entrants: Sequence[Entrant],
    stretches: Sequence[Stretch],
    play: Callable[[np.ndarray, Tensor, np.ndarray], Any],
) -> Iterator[tuple[Sequence[Stretch], Any]]:
    """Yields stretches that are alike with their results, in portions.

    `play` returns the results of M stretches, from the numbers of their entrants, the seeds of the deals that all have
    in common, and the keys (M,) of their own; see `deal_key`.
    """
    seeds = deal_seeds(seed, stretches[0].begin, stretches[0].end)
    for some in portions(stretches):
        keys = [deal_key([entrants[number] for number in each.entrants]) for each in some]
        yield some, play(np.array([each.entrants for each in some]), seeds, np.array(keys))


def play_jobs(
    runner: Runner, job: Callable[[Argument], Result], arguments: Sequence[Argument], stretches: Sequence[Stretch]
) -> Iterator[tuple[list[Stretch], list[Result]]]:
    """Runs a job for each stretch; yields stretches and results as they end, about every PACE seconds."""
    for place in range(0, len(stretches), TOGETHER):
        ended, results, since = list[Stretch](), list[Result](), perf_counter()
        for number, result in runner.complete(job, arguments[place : place + TOGETHER]):
            ended.append(stretches[place + number])
            results.append(result)
            if perf_counter() - since > PACE:
                yield ended, results
                ended, results, since = [], [], perf_counter()
        yield ended, results
