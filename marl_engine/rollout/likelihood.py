"""How likely a policy makes what was played."""

import torch
from torch import Tensor

from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Policy


def action_log_probs(policy: Policy, trajectory: Trajectory, seat: int) -> Tensor:
    """Log-probabilities (T, B) that a policy gives the actions of a seat; 0 where the seat did not act.

    A policy that remembers begins with what the seat remembered at the first turn.
    """
    observation, acting = trajectory.observation[:, :, seat], trajectory.acting[:, :, seat]
    legal = None if trajectory.legal is None else trajectory.legal[:, :, seat]
    place = torch.full((acting.numel(),), seat, device=acting.device)
    rows = policy.encode(observation.flatten(0, 1), place)
    opens = torch.cat([torch.zeros_like(trajectory.done[:1]), trajectory.done[:-1]])
    memory = trajectory.memory[seat] if policy.unit == "sequence" else None
    distribution, _ = policy.unroll(rows.unflatten(0, acting.shape), legal, memory, opens, acting)
    likely = torch.zeros_like(trajectory.log_prob[:, :, seat])
    likely[acting] = distribution.log_prob(trajectory.action[:, :, seat][acting])
    return likely
