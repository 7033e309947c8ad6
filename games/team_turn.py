"""What games share in which all seats of a team act at once and earn the same."""

import torch
from torch import Tensor

from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.types import Turn


def team_turn(observation: Tensor, earned: Tensor, done: Tensor, final: Tensor | None, actions: int = 2) -> Turn:
    """Returns a turn of a team from observations (B, P, …) and its payoffs (B,); games end by their time limit."""
    legal = torch.ones(*observation.shape[:2], actions, dtype=torch.bool, device=observation.device)
    reward = earned[:, None].repeat(1, observation.shape[1])
    return Turn(observation, legal, legal[..., 0], reward, torch.zeros_like(reward), done, done, final)


def seat_uniforms(seeds: Tensor, clock: Tensor, players: int) -> Tensor:
    """Returns uniform numbers (B, P), functions of each copy's seed (B,), its number of turns (B,) and the seat."""
    place = clock[:, None] * players + torch.arange(1, players + 1, device=seeds.device)
    return to_unit_interval(mix_bits(mix_bits(seeds)[:, None] + GOLDEN * place))
