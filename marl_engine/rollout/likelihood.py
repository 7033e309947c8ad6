"""Log-probabilities that a policy gives to the actions of a trajectory."""

import torch
from torch import Tensor

from marl_engine.numerics.trees import spread_rows
from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Policy


def check_likelihood(policy: Policy) -> None:
    """Raises ValueError for a policy whose probabilities depend on more than observations and their order."""
    if policy.unit == "team" or (policy.unit != "sequence" and policy.initial_memory(1) is not None):
        raise ValueError(
            f"{type(policy).__name__} has no probabilities of single actions: they depend on "
            f"{'those of other seats' if policy.unit == 'team' else 'those before'}"
        )


def action_log_probs(policy: Policy, trajectory: Trajectory, seat: int) -> Tensor:
    """Returns log-probabilities (T, B) that a policy gives the actions of a seat; 0 where the seat did not act.

    A policy that learns by sequences begins with what the seat remembered at the first turn. Raises ValueError for a
    policy that decided for a whole team, and for mixtures of a population, whose memory depends on what they did.
    """
    if policy.unit != "team" or trajectory.draws is not None:  # otherwise each seat played on its own
        check_likelihood(policy)
    observation, acting = trajectory.observation[:, :, seat], trajectory.acting[:, :, seat]
    legal = None if trajectory.legal is None else trajectory.legal[:, :, seat]
    place = torch.full((acting.numel(),), seat, device=acting.device)
    rows = policy.encode(observation.flatten(0, 1), place)
    memory = trajectory.memory[seat] if policy.unit == "sequence" else None
    distribution, _ = policy.unroll(rows.unflatten(0, acting.shape), legal, memory, trajectory.opens, acting)
    return spread_rows(distribution.log_prob(trajectory.action[:, :, seat][acting]), acting)
