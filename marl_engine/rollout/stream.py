"""Games that are always under way, so that a learner goes on where it stopped."""

from typing import Any

import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_loop
from marl_engine.numerics.state_checks import check_like
from marl_engine.rollout.opponents import OpponentSeating
from marl_engine.rollout.rollout import Trajectory, play, record
from marl_engine.rollout.turn_checks import check_turn
from marl_engine.types import Game, Memory, Opponents, Profile, Turn


class Stream:
    """Games that are always under way: a line-up goes on where the last one stopped.

    Raises Refused for a game whose turns are not as `Turn` says, and Halted where that is seen later.
    """

    def __init__(self, game: Game, seeds: Tensor):
        self.game, self.seeds = game, seeds
        self.turn = game.reset(seeds)
        check_turn(game, self.turn, len(seeds))
        self.running = torch.zeros(self.turn.reward.shape)  # (B, P) payoff so far of the games under way
        self.member = torch.full_like(seeds, -1)  # (B,) which of several opponents each copy plays with; -1: none yet
        self.memory: tuple[Memory, ...] = ()  # (P,) what the seats remember, each a tree of (B, …); empty at first
        self.clock = 0  # decisions so far: the place of the next in the noise

    def play(self, profile: Profile, turns: int) -> tuple[Trajectory, Tensor | None]:
        """The next `turns` decisions, and the payoff (games, P) of the games that ended on the way."""
        return self._advance(*play(self.game, profile, self.turn, self.seeds, self.clock, turns, self.memory))

    def play_opponents(self, opponents: Opponents, turns: int) -> tuple[Trajectory, Tensor | None]:
        """What `play` returns, of games in each of which one of the opponents plays, drawn when it opens.

        A game under way goes on with the same place among the members, in this and in later calls.
        """
        if len(opponents.members) == 1:
            return self.play(opponents.members[0], turns)
        seating = OpponentSeating(opponents, self.seeds, self.clock, self.member, self.memory)
        result = self._advance(*record(self.game, seating, self.turn, self.seeds, self.clock, turns))
        self.member = seating.member
        return result

    def _advance(
        self, trajectory: Trajectory, turn: Turn, memory: tuple[Memory, ...]
    ) -> tuple[Trajectory, Tensor | None]:
        """Goes on from `turn`, before which the trajectory was played; returns what `play` returns."""
        self.turn, self.memory = turn, memory
        self.clock += len(trajectory.done)
        ended = torch.empty(int(trajectory.done.sum()), self.running.shape[1])
        reward, done = trajectory.reward.cpu().contiguous(), trajectory.done.cpu().contiguous()
        add_rewards(reward.numpy(), done.numpy(), self.running.numpy(), ended.numpy())
        return trajectory, ended if len(ended) else None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        own = {"running": self.running, "member": self.member, "memory": self.memory, "clock": self.clock}
        return {"game": self.game.state(), **own}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint. Raises ValueError for one of another game."""
        check_like(state, {**self.state(), "memory": ()}, "stream")
        self.turn = self.game.restore(state["game"])
        self.running = state["running"].cpu().clone()
        self.member = state["member"].to(self.member.device)
        self.clock = state["clock"]
        self.memory = tuple(state["memory"])


@compile_loop
def add_rewards(reward, done, running, ended):
    """Adds rewards (T, B, P) to the payoff so far (B, P); that of games that are done (T, B) moves to `ended`."""
    turns, copies, players = reward.shape
    game = 0
    for turn in range(turns):
        for copy in range(copies):
            for seat in range(players):
                running[copy, seat] += reward[turn, copy, seat]
            if done[turn, copy]:
                for seat in range(players):
                    ended[game, seat], running[copy, seat] = running[copy, seat], 0
                game += 1
