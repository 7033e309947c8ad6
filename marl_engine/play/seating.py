"""Play in which people choose the actions of some seats, and the policies of a profile those of the others."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from marl_engine.rollout.seating import Seating, SeatMemory
from marl_engine.types import Memory, Profile, Turn


class PeopleSeating:
    """Seats of one game, some of which are people's; see `seating.Seats`. `choose` sets their next actions."""

    def __init__(self, profile: Profile, people: Collection[int], device: torch.device):
        self.profile, self.seating = profile, Seating(profile, 1, device)
        self.people = torch.tensor([seat in people for seat in range(len(profile))], device=device)
        self.choice = torch.zeros(len(profile), dtype=torch.int64, device=device)
        self.draws: Memory = None  # a team plays with itself only

    def choose(self, choices: Mapping[int, int]) -> None:
        """Sets the actions of people in the next decision, by seat. Other seats of people take action 0."""
        self.choice.zero_()
        for seat, action in choices.items():
            self.choice[seat] = action

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (1, P) and log-probabilities (1, P), those of people being 0."""
        if self.people.all():
            return self.choice[None], torch.zeros_like(turn.reward)
        action, log_prob = self.seating.decide(turn._replace(acting=turn.acting & ~self.people), noise, greedy)
        return torch.where(self.people, self.choice, action), log_prob * ~self.people

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the seats before a turn."""
        return self.seating.seat_memory(turn)
