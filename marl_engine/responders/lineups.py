"""The games that a learner plays: a stream of copies for each line-up of learners and opponents."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.configuration import instantiate
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_fields, get_state, set_fields
from marl_engine.policies.mixtures.population import is_learnable
from marl_engine.responders.batches import SeatBatch
from marl_engine.responders.overlap import Ahead, check_policies
from marl_engine.rollout.levels import level_game
from marl_engine.rollout.opponents import seat_learner
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import group_by_policy
from marl_engine.rollout.sharded_stream import ShardedStream, Stretch
from marl_engine.runners import overlapping
from marl_engine.types import Game, LevelSource, Metrics, Opponents, Payoff, Policy, Profile, Runner

STREAMS = 1000  # separates the seeds of streams from those of the next seed


class StreamSettings(NamedTuple):
    """The number of copies in a stream, their seed, and the number in each shard (None: one shard)."""

    games: int  # B
    shard: int | None
    seed: int
    device: str


class Lineup(NamedTuple):
    """Who plays in a stream, and the seats that learn from it."""

    players: Opponents
    learning: list[int]


def make_source(levels: Any) -> LevelSource | None:
    """A source of levels, or the one that a section of a configuration names."""
    source: LevelSource | None = instantiate("responder.levels", levels) if isinstance(levels, Mapping) else levels
    return source


def learning_seats(profile: Profile) -> list[int]:
    """Returns the seats whose policies are not frozen."""
    return [seat for seat, policy in enumerate(profile) if is_learnable(policy)]


class Lineups:
    """Streams of games: one in which all seats learn, or one for each seat that learns against opponents.

    Raises Refused for a source of levels if the game has none.
    """

    STATE = ("source", "streams")

    def __init__(self, game: Game, copies: StreamSettings, runner: Runner, source: LevelSource | None):
        self.game, self.copies, self.runner, self.source = game, copies, runner, source
        self.streams: list[ShardedStream] = []
        overlap = overlapping(runner)
        self.ahead = None if overlap is None else Ahead(overlap)
        if source is not None:
            level_game(game)

    def play(
        self, profile: Profile, opponents: Opponents | None, turns: int, payoff: Payoff | None
    ) -> tuple[list[Trajectory], dict[Policy, list[SeatBatch]], Metrics]:
        """The play of each line-up, what each policy learns from it, and the mean payoff of games that ended.

        Without opponents all seats learn in one line-up; with opponents each seat learns in its own, unless its policy
        is frozen. If play overlaps with learning, the next stretch begins.
        """
        seats = range(self.game.players)
        lineups = self._lineups(profile, opponents, learning_seats(profile))
        played, metrics = self._play(profile, opponents, turns)
        parts: dict[Policy, list[SeatBatch]] = {}
        trajectories: list[Trajectory] = []
        earned: list[list[Tensor]] = [[] for _ in seats]
        for number, (stream, (trajectory, returns)) in enumerate(zip(self.streams, played, strict=False)):
            if payoff is not None:
                trajectory = trajectory._replace(reward=payoff.on_trajectory(trajectory))
            trajectories.append(trajectory)
            stale = metrics.get("staleness", 0) > 0
            for policy, here in group_by_policy(profile):
                own = [seat for seat in here if seat in lineups[number].learning]
                if own:
                    part = SeatBatch(trajectory, stream.turn, own, str(number), stale=stale)
                    parts.setdefault(policy, []).append(part)
            if returns is not None:
                for seat in lineups[number].learning:
                    earned[seat].append(returns[:, seat])
        means = {f"return/{seat}": torch.cat(each).mean().item() for seat, each in enumerate(earned) if each}
        metrics |= means | ({"return/mean": sum(means.values()) / len(means)} if means else {})
        return trajectories, parts, metrics

    def _lineups(self, profile: Profile, opponents: Opponents | None, seats: Sequence[int]) -> list[Lineup]:
        """Returns the line-ups in which some seats of a profile learn, or all of them without opponents."""
        if opponents is None:
            return [Lineup(Opponents([profile]), list(range(len(profile))))]
        return [Lineup(seat_learner(opponents, profile, seat), [seat]) for seat in seats]

    def _play(
        self, profile: Profile, opponents: Opponents | None, turns: int
    ) -> tuple[list[tuple[Trajectory, Tensor | None]], Metrics]:
        """Returns the next stretch of each line-up, and how old it is if play overlaps with learning."""
        seats = learning_seats(profile)
        lineups = self._lineups(profile, opponents, seats)
        streams = self._streams(len(lineups))

        def play() -> list[tuple[Trajectory, Tensor | None]]:
            return [each.play_opponents(lineup, turns) for each, (lineup, _) in zip(streams, lineups, strict=True)]

        def plan(players: Profile) -> list[Stretch]:
            pairs = zip(streams, self._lineups(players, opponents, seats), strict=True)
            return [stretch for stream, (lineup, _) in pairs for stretch in stream.stretches(lineup, turns)]

        if self.ahead is None:
            return play(), {}
        check_policies(profile)
        results = self.ahead.take(profile, opponents, plan)
        if results is None:
            played = play()
        else:
            each = iter(results)
            played = [stream.advance(list(islice(each, len(stream.shards)))) for stream in streams]
        self.ahead.start(profile, opponents, plan)
        return played, {"staleness": float(results is not None)}

    def note_update(self, profile: Profile) -> None:
        """Takes note of the policies that a step leaves, if play overlaps with learning."""
        if self.ahead is not None:
            self.ahead.note_update(profile)

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint."""
        return get_fields(self) | ({} if self.ahead is None else {"ahead": get_state(self.ahead)})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Creates the streams, as many as were saved, and restores all; see `set_state`."""
        self._streams(len(state["streams"]))
        set_fields(self, state)
        if self.ahead is not None:
            self.ahead.restore(state["ahead"])

    def _streams(self, count: int) -> list[ShardedStream]:
        """Returns as many streams as there are line-ups, each with seeds of its own."""
        games, shard, seed, device = self.copies
        while len(self.streams) < count:
            seeds = derive_seeds(seed * STREAMS + len(self.streams), games, device)
            self.streams.append(ShardedStream(self.game, seeds, self.runner, shard, self.source))
        return self.streams[:count]
