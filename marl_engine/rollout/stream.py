"""Games in progress: each stretch of play continues where the last one stopped."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marl_engine.capabilities import capabilities_of
from marl_engine.numerics.jit import compile_loop
from marl_engine.numerics.state import set_fields, set_state
from marl_engine.rollout.levels import CopyLevels, level_game
from marl_engine.rollout.opponents import OpponentSeating, expand_mixtures
from marl_engine.rollout.rollout import Trajectory, play, record
from marl_engine.rollout.seating import Seating, SeatMemory, Seats
from marl_engine.rollout.turn_checks import check_turn
from marl_engine.types import Game, LevelSource, Opponents, Profile, Turn


class Stream:
    """Games in progress; each stretch of play continues where the last one stopped.

    With a `source`, games open at levels that it draws; payoffs are not reported to it. Unlike `score`, a stream does
    not count games that end before anyone has acted (see `Game.reset`), as nothing can be learned from them. Raises
    Refused if the first turns of the game are invalid (see `Turn`), and Halted if later ones are.
    """

    STATE = ("game", "clock", "running", "member", "memory", "level")

    def __init__(self, game: Game, seeds: Tensor, source: LevelSource | None = None):
        self.game, self.seeds, self.source = game, seeds, source
        self.level: Tensor | None = None  # (B, …) the levels of the games under way, if they have any
        self.turn = self._reset()
        check_turn(game, self.turn, len(seeds))
        self.running = torch.zeros(self.turn.reward.shape)  # (B, P) payoff so far of the games under way
        self.member = torch.full_like(seeds, -1)  # (B,) which of several opponents each copy plays with; -1: none yet
        self.memory: SeatMemory = ()  # what the seats remember; empty at first
        self.clock = 0  # decisions so far: the place of the next in the noise

    def play(self, profile: Profile, turns: int) -> tuple[Trajectory, Tensor | None]:
        """Plays `turns` decisions; returns the trajectory, and the payoffs (games, P) of games that ended."""
        if self.source is None:
            return self._advance(*play(self.game, profile, self.turn, self.seeds, self.clock, turns, self.memory))
        return self._record(Seating(profile, len(self.seeds), self.seeds.device, self.memory), turns)

    def play_opponents(self, opponents: Opponents, turns: int) -> tuple[Trajectory, Tensor | None]:
        """Plays like `play`, with an opponent in each copy that is drawn when a game opens.

        A game in progress keeps its place among the members, in this and later calls. A mixture of a population stands
        for its members, except in games in which policies can be tabulated, where it costs no more than one policy.
        """
        if not (capabilities_of(self.game).tabulated and all(policy.tabular for policy in opponents.members[0])):
            opponents = expand_mixtures(opponents)
        if len(opponents.members) == 1:
            result = self.play(opponents.members[0], turns)
        else:
            seating = OpponentSeating(opponents, self.seeds, self.clock, self.member, self.memory)
            result = self._record(seating, turns)
            self.member = seating.member
        self.member = torch.where(self.turn.done, -1, self.member)  # they draw in the next call: others may be there
        return result

    def _reset(self) -> Turn:
        """Opens the first games, at levels of the source if there is one."""
        if self.source is None:
            return self.game.reset(self.seeds)
        self.level = self.source.draw(self.seeds, 0)
        return level_game(self.game).reset(self.seeds, self.level)

    def _record(self, seating: Seats, turns: int) -> tuple[Trajectory, Tensor | None]:
        """Returns what `play` returns, for given seats."""
        levels = None
        if self.source is not None and self.level is not None:
            levels = CopyLevels(level_game(self.game), self.source, self.seeds, self.clock, self.level)
        result = self._advance(*record(self.game, seating, self.turn, self.seeds, self.clock, turns, levels))
        self.level = None if levels is None else levels.level
        return result

    def _advance(self, trajectory: Trajectory, turn: Turn, memory: SeatMemory) -> tuple[Trajectory, Tensor | None]:
        """Moves on to `turn`, which follows the trajectory; returns what `play` returns."""
        self.turn, self.memory = turn, memory
        self.clock += len(trajectory.done)
        returns = torch.empty(int(trajectory.done.sum()), self.running.shape[1])
        reward, done = trajectory.reward.cpu().contiguous(), trajectory.done.cpu().contiguous()
        add_rewards(reward.numpy(), done.numpy(), self.running.numpy(), returns.numpy())
        return trajectory, returns if len(returns) else None

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the fields, and the turn that the game returns; see `set_state`."""
        set_fields(self, state, self.STATE[1:])
        self.turn = set_state(self.game, state["game"])


@compile_loop
def add_rewards(reward, done, running, returns):
    """Adds rewards (T, B, P) to the payoff so far (B, P); that of games that are done (T, B) moves to `returns`."""
    turns, copies, players = reward.shape
    game = 0
    for turn in range(turns):
        for copy in range(copies):
            for seat in range(players):
                running[copy, seat] += reward[turn, copy, seat]
            if done[turn, copy]:
                for seat in range(players):
                    returns[game, seat], running[copy, seat] = running[copy, seat], 0
                game += 1
