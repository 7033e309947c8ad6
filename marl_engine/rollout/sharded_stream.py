"""Games in progress, in shards: each stretch of play is a pure job for each shard, so any runner gives the same result.

Each shard is one batch, so results do not depend on the number of workers. The games of a shard stay in the worker that
played them last; see `runners.resident`.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from marl_engine.numerics.state import set_fields
from marl_engine.numerics.trees import map_tree
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.stream import Stream
from marl_engine.runners import LOCAL, Resident
from marl_engine.types import Game, LevelSource, Opponents, Runner, Turn

Joined = TypeVar("Joined", Turn, Trajectory)
TREES = {"memory": 0, "draws": 1}  # fields that are trees of tensors, with the axis of games
FILLS = {"legal": 1, "alive": 1, "final_acting": 1}  # values of fields that are None; 0 by default


class Stretch(NamedTuple):
    """The next `turns` decisions of a shard. The job uses up the shard: go on with the one that it returns."""

    shard: Resident[Stream]
    source: LevelSource | None
    opponents: Opponents
    turns: int


class Played(NamedTuple):
    """A shard after a stretch, what was played, and the payoff (games, P) of the games that ended on the way."""

    shard: Resident[Stream]
    turn: Turn  # that the shard is to play next
    trajectory: Trajectory
    ended: Tensor | None


def play_shard(stretch: Stretch) -> Played:
    """Plays; see `Stream.play_opponents`."""
    stream = stretch.shard.value
    stream.source = stretch.source
    trajectory, ended = stream.play_opponents(stretch.opponents, stretch.turns)
    return Played(stretch.shard, stream.turn, trajectory, ended)


class ShardedStream:
    """A `Stream` of games with seeds (B,), played in shards of `size` games; None: in one.

    The source of levels, if there is one, is told after each stretch what the games earned that ended in it.
    """

    STATE = ("shards",)

    def __init__(
        self,
        game: Game,
        seeds: Tensor,
        runner: Runner = LOCAL,
        size: int | None = None,
        source: LevelSource | None = None,
    ):
        self.runner, self.source = runner, source
        streams = [Stream(deepcopy(game), piece, source) for piece in seeds.split(size or len(seeds))]
        self.shards, self.turns = [Resident(stream) for stream in streams], [stream.turn for stream in streams]

    @property
    def turn(self) -> Turn:
        """The turn that all games are to play next."""
        return join_games(self.turns, 0)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the shards; see `set_state`."""
        set_fields(self, state)
        self.turns = [shard.value.turn for shard in self.shards]

    def play_opponents(self, opponents: Opponents, turns: int) -> tuple[Trajectory, Tensor | None]:
        """See `Stream.play_opponents`."""
        return self.advance(self.runner.map(play_shard, self.stretches(opponents, turns)))

    def stretches(self, opponents: Opponents, turns: int) -> list[Stretch]:
        """Returns the jobs of the next `turns` decisions, one for each shard."""
        return [Stretch(shard, self.source, opponents, turns) for shard in self.shards]

    def advance(self, results: Sequence[Played]) -> tuple[Trajectory, Tensor | None]:
        """Moves on to where jobs have come; returns what `Stream.play_opponents` returns."""
        self.shards, self.turns = [each.shard for each in results], [each.turn for each in results]
        returns = [each.ended for each in results if each.ended is not None]
        if self.source is not None and returns:
            levels = [
                each.trajectory.level[each.trajectory.done] for each in results if each.trajectory.level is not None
            ]
            self.source.report(torch.cat(levels), torch.cat(returns))
        return join_games([each.trajectory for each in results], 1), torch.cat(returns) if returns else None


def join_games(parts: Sequence[Joined], axis: int) -> Joined:
    """Joins the turns (axis 0) or trajectories (axis 1) of several shards."""
    if len(parts) == 1:
        return parts[0]
    sizes, kind = [part.done.shape[axis] for part in parts], type(parts[0])
    columns: dict[str, Any] = dict(zip(kind._fields, zip(*parts, strict=True), strict=True))
    for name, column in columns.items():
        if name in TREES:
            columns[name] = map_tree(partial(concatenate, TREES[name]), *column)
        else:
            columns[name] = join_field(column, sizes, axis, FILLS.get(name, 0))
    return kind(**columns)


def concatenate(axis: int, *parts: Tensor) -> Tensor:
    """Joins tensors along an axis."""
    return torch.cat(parts, dim=axis)


def join_field(parts: Sequence[Tensor | None], sizes: Sequence[int], axis: int, fill: int) -> Tensor | None:
    """Joins tensors of several shards along an axis. If some are None, `fill` takes their place; None if all are."""
    example = next((part for part in parts if part is not None), None)
    if example is None:
        return None
    shapes = [(*example.shape[:axis], size, *example.shape[axis + 1 :]) for size in sizes]
    filled = [
        example.new_full(shape, fill) if part is None else part for part, shape in zip(parts, shapes, strict=True)
    ]
    return torch.cat(filled, dim=axis)
