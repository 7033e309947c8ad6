"""Whole games in shards: pure jobs with a fixed number of games, for which every runner gives the same results.

A game is a function of its seed, but rounding may depend on the batch. Batches are therefore shards, whatever the
number of workers.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.rollout.bot_seating import BotSeating
from marl_engine.rollout.rollout import score
from marl_engine.types import Game, Profile, Runner

SHARD = 1024  # games


class Lineup(NamedTuple):
    """A profile, and how its actions are chosen. A bot of the game may play all seats but one."""

    profile: Profile
    greedy: bool = False
    bot: str | None = None
    seat: int = 0  # that the profile plays, if there is a bot


class Shard(NamedTuple):
    """Whole games of one line-up, one for each seed."""

    game: Game
    lineup: Lineup
    seeds: Tensor  # (N,) int64


def score_shard(shard: Shard) -> Tensor:
    """Returns (N, P) of the games of a shard; see `score`."""
    profile, greedy, bot, seat = shard.lineup
    game: Any = deepcopy(shard.game)
    if bot is None:
        return score(game, profile, shard.seeds, greedy=greedy)
    take_seats = partial(BotSeating, game=game, bot=bot, seat=seat)
    return score(game, profile, shard.seeds, greedy=greedy, take_seats=take_seats)


def score_lineups(
    runner: Runner, game: Game, lineups: Sequence[Lineup], seeds: Tensor, size: int = SHARD
) -> list[Tensor]:
    """Returns (N, P) of each line-up in whole games with seeds (N,), played in shards of `size` games."""
    pieces = seeds.split(size)
    results = iter(runner.map(score_shard, [Shard(game, each, piece) for each in lineups for piece in pieces]))
    return [torch.cat([next(results) for _ in pieces]) for _ in lineups]
