"""A policy that makes mistakes: in each decision it takes any legal action with a fixed probability."""

import torch
from torch import Tensor

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.types import Memory, Policy, Profile


def blur(distribution: Categorical, legal: Tensor | None, noise: Tensor) -> Categorical:
    """Mixes N distributions with the uniform one over legal actions (N, A), with weights `noise` (N, 1) or ()."""
    log_probs = distribution.log_probs
    count = log_probs.shape[-1] if legal is None else legal.sum(-1, keepdim=True)
    anything = noise.log() - torch.as_tensor(count, device=log_probs.device).log()
    return Categorical(torch.logaddexp(torch.log1p(-noise) + log_probs, anything), legal)


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
        self.policy, before = split_noise(policy)
        self.noisy, self.tabular = (self.policy, 1 - (1 - noise) * (1 - before)), policy.tabular

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.policy.encode(observation, seat)

    def initial_memory(self, count: int) -> Memory:
        return self.policy.initial_memory(count)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        distribution, memory = self.policy(rows, legal, memory)
        return blur(distribution, legal, torch.tensor(split_noise(self)[1])), memory


def split_noise(policy: Policy) -> tuple[Policy, float]:
    """Returns the policy that a policy adds noise to, and how much: itself and 0 if it adds none."""
    return policy.noisy or (policy, 0.0)


def add_noise(profile: Profile, noise: float) -> Profile:
    """Returns the policies of a profile with noise in [0, 1); one that sits in several seats stays one policy."""
    noisy = {policy: NoisyPolicy(policy, noise) for policy in profile}
    return [noisy[policy] for policy in profile]
