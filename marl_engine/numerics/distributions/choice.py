"""The choice of actions from distributions."""

from torch import Tensor

from marl_engine.types import Distribution


def choose(distribution: Distribution, noise: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
    """Returns actions and their log-probabilities (N,), sampled from uniform numbers `noise` (N, …).

    With `greedy` they are the most probable actions.
    """
    if not greedy:
        return distribution.sample(noise)
    action = distribution.mode()
    return action, distribution.log_prob(action)
