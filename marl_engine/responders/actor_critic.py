"""Policies with critics."""

from typing import Any, NamedTuple

from marl_engine.numerics.adam import Adam
from marl_engine.types import Memory, Policy


class KLTerm(NamedTuple):
    """A policy that the learner is regularised towards, by `weight` * KL(pi || policy) in units of payoff."""

    policy: Policy
    weight: float


class ActorCritic:
    """A policy with its critic, the optimisers of both, and the critic's memory of the games of each line-up."""

    def __init__(self, policy: Policy, critic: Any):
        self.policy, self.critic = policy, critic
        self.policy_optimiser, self.critic_optimiser = Adam(policy), Adam(critic)
        self.memory: dict[int, Memory] = {}  # by the number of the line-up, (B * seats, …)

    def state(self) -> dict[str, Any]:
        """Returns the critic, optimisers and memory for a checkpoint; the policy is saved with its profile."""
        return {
            "critic": self.critic.state_dict(),
            "policy_optimiser": self.policy_optimiser.state(),
            "critic_optimiser": self.critic_optimiser.state(),
            "memory": self.memory,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self.critic.load_state_dict(state["critic"])
        self.policy_optimiser.restore(state["policy_optimiser"])
        self.critic_optimiser.restore(state["critic_optimiser"])
        self.memory = {int(number): memory for number, memory in state["memory"].items()}
