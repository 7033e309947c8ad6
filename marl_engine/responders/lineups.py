"""The games that a learner plays: a stream of copies for each line-up of learners and opponents."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.configuration import instantiate
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import set_fields
from marl_engine.responders.batches import SeatBatch
from marl_engine.rollout.levels import level_game
from marl_engine.rollout.opponents import seat_learner
from marl_engine.rollout.rollout import Trajectory, group_by_policy
from marl_engine.rollout.sharded_stream import ShardedStream
from marl_engine.types import Game, LevelSource, Metrics, Opponents, Payoff, Policy, Profile, Runner

STREAMS = 1000  # separates the seeds of streams from those of the next seed


class StreamSettings(NamedTuple):
    """The number of copies in a stream, their seed, and the number in each shard (None: one shard)."""

    games: int  # B
    shard: int | None
    seed: int
    device: str


def make_source(levels: Any) -> LevelSource | None:
    """A source of levels, or the one that a section of a configuration names."""
    source: LevelSource | None = instantiate("responder.levels", levels) if isinstance(levels, Mapping) else levels
    return source


class Lineups:
    """Streams of games: one in which all seats learn, or one for each seat that learns against opponents.

    Raises Refused for a source of levels if the game has none.
    """

    STATE = ("source", "streams")

    def __init__(self, game: Game, copies: StreamSettings, runner: Runner, source: LevelSource | None):
        self.game, self.copies, self.runner, self.source = game, copies, runner, source
        self.streams: list[ShardedStream] = []
        if source is not None:
            level_game(game)

    def play(
        self, profile: Profile, opponents: Opponents | None, turns: int, payoff: Payoff | None
    ) -> tuple[list[Trajectory], dict[Policy, list[SeatBatch]], Metrics]:
        """The play of each line-up, what each policy learns from it, and the mean payoff of games that ended.

        Without opponents all seats learn in one line-up; with opponents each seat learns in its own.
        """
        seats = range(self.game.players)
        lineups = [(Opponents([profile]), list(seats))]
        if opponents is not None:
            lineups = [(seat_learner(opponents, profile, seat), [seat]) for seat in seats]
        parts: dict[Policy, list[SeatBatch]] = {}
        trajectories: list[Trajectory] = []
        earned: list[list[Tensor]] = [[] for _ in seats]
        for number, stream in enumerate(self._streams(len(lineups))):
            lineup, learning = lineups[number]
            trajectory, returns = stream.play_opponents(lineup, turns)
            if payoff is not None:
                trajectory = trajectory._replace(reward=payoff.on_trajectory(trajectory))
            trajectories.append(trajectory)
            for policy, here in group_by_policy(profile):
                own = [seat for seat in here if seat in learning]
                if own:
                    parts.setdefault(policy, []).append(SeatBatch(trajectory, stream.turn, own, str(number)))
            if returns is not None:
                for seat in learning:
                    earned[seat].append(returns[:, seat])
        means = {f"return/{seat}": torch.cat(each).mean().item() for seat, each in enumerate(earned) if each}
        return trajectories, parts, means | ({"return/mean": sum(means.values()) / len(means)} if means else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Creates the streams, as many as were saved, and restores all; see `set_state`."""
        self._streams(len(state["streams"]))
        set_fields(self, state)

    def _streams(self, count: int) -> list[ShardedStream]:
        """Returns as many streams as there are line-ups, each with seeds of its own."""
        games, shard, seed, device = self.copies
        while len(self.streams) < count:
            seeds = derive_seeds(seed * STREAMS + len(self.streams), games, device)
            self.streams.append(ShardedStream(self.game, seeds, self.runner, shard, self.source))
        return self.streams[:count]
