"""Play against a bot of the game: a profile in one seat, the bot in all others."""

import torch
from torch import Tensor

from marl_engine.capabilities import BotGame
from marl_engine.rollout.seating import Seating, SeatMemory
from marl_engine.types import Memory, Profile, Turn


class BotSeating:
    """The policy of a profile in one seat of B games, and a bot in all others; see `seating.Seats`."""

    def __init__(self, profile: Profile, games: int, device: torch.device, *, game: BotGame, bot: str, seat: int):
        self.profile, self.seating = profile, Seating(profile, games, device)
        self.game, self.bot, self.seat = game, bot, seat
        self.draws: Memory = None  # a team plays with itself only

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (B, P) and log-probabilities (B, P), those of a bot being 0."""
        own = torch.arange(len(self.profile), device=noise.device) == self.seat
        action, log_prob = self.seating.decide(turn._replace(acting=turn.acting & own), noise, greedy)
        return torch.where(own, action, self.game.bot_actions(self.bot, noise)), log_prob * own

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the profile's seats before a turn."""
        return self.seating.seat_memory(turn)
