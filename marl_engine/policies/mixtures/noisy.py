"""A policy that makes mistakes: in each decision it takes any legal action with a fixed probability."""

from math import inf, log, log1p

import torch
from torch import Tensor

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.types import Memory, Policy, Profile


class NoisyPolicy(Policy):
    """pi(a | s) = (1 - noise) * policy(a | s) + noise / (number of legal actions).

    It is not a copy: when the policy learns, this one changes with it. Raises ValueError for policies whose actions are
    not one numbered choice, and for mixtures of a population, whose memory depends on what they did.
    """

    def __init__(self, policy: Policy, noise: float):
        super().__init__()
        if policy.noise_shape or policy.generates or policy.unit == "team":
            raise ValueError(f"{type(policy).__name__} does not choose single actions by number, so it gets no noise")
        if type(policy).remember is not Policy.remember:
            raise ValueError("mixtures of a population get no noise; take one of their members")
        self.policy, self.noise, self.tabular = policy, noise, policy.tabular

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.policy.encode(observation, seat)

    def initial_memory(self, count: int) -> Memory:
        return self.policy.initial_memory(count)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        distribution, memory = self.policy(rows, legal, memory)
        log_probs = distribution.log_probs
        count = log_probs.shape[-1] if legal is None else legal.sum(-1, keepdim=True)
        anything = (log(self.noise) if self.noise else -inf) - torch.as_tensor(count, device=log_probs.device).log()
        return Categorical(torch.logaddexp(log1p(-self.noise) + log_probs, anything), legal), memory


def add_noise(profile: Profile, noise: float) -> Profile:
    """Returns the policies of a profile with noise in [0, 1); one that sits in several seats stays one policy."""
    noisy = {policy: NoisyPolicy(policy, noise) for policy in profile}
    return [noisy[policy] for policy in profile]
