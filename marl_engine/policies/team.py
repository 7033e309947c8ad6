"""Policies that decide for all seats of a team at once, in games in which all seats act at the same time."""

from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor

from marl_engine.errors import Refused
from marl_engine.types import Distribution, Memory, Policy, Turn


class TeamDecision(NamedTuple):
    """The decisions of all seats of B games."""

    action: Tensor  # (B, P) int64
    log_prob: Tensor  # (B, P)
    draws: Memory = None  # what was drawn besides, for learning: a tree of tensors (B, …)


class TeamPolicy(Protocol):
    """A policy whose `unit` is "team". It sits in all seats; `Policy.forward` is for seats that play on their own."""

    draws_graphs: bool  # whether it draws a graph of its seats for each decision, with fewer edges at lower density

    def decide_team(
        self, rows: Tensor, legal: Tensor | None, acting: Tensor, noise: Tensor, greedy: bool = False
    ) -> TeamDecision:
        """Decides for all seats of B games.

        Rows are (B, P, …), legal (B, P, A) bool or None, acting (B, P) bool, noise (B, P) uniform. Seats that are not
        acting have left the game. With `greedy` each seat takes its most probable action.
        """
        ...

    def team_distribution(
        self, rows: Tensor, legal: Tensor | None, acting: Tensor, action: Tensor, draws: Any
    ) -> tuple[Distribution, Tensor | None]:
        """Returns the distributions of the M decisions in which `acting` is True, and a penalty that learning adds.

        Arguments have N games in place of B; action is (N, P). The distribution of a seat is that given the actions of
        the other seats that it saw. The penalty is a scalar, or None.
        """
        ...


def as_team(policy: Policy) -> TeamPolicy:
    """Returns a policy whose `unit` is "team"."""
    return cast(TeamPolicy, policy)


def decide_team(
    policy: Policy, turn: Turn, seat: Tensor, legal: Tensor | None, noise: Tensor, greedy: bool
) -> TeamDecision:
    """Decides for all seats (B * P,), game by game, in a turn. Raises Refused if a seat waits for others."""
    if not (turn.acting.all() if turn.alive is None else (turn.acting | ~turn.alive).all()):
        raise Refused(f"{type(policy).__name__} is for games in which all seats act at the same time; here some wait")
    rows = policy.encode(turn.observation.flatten(0, 1), seat).unflatten(0, noise.shape[:2])
    return as_team(policy).decide_team(rows, legal, turn.acting, noise, greedy)
