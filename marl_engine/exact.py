"""The responder of games in sequence form: it knows every payoff, and plays nothing.

In every information set the regularised step has a closed form, with q the values of the actions there:

    pi ~ exp[(q + pull * log magnet + log anchor / step_size) / (pull + 1 / step_size)]

It is magnetic mirror descent (Sokota et al. 2023, arXiv:2206.05825, section 3), and in a matrix game the step of
Nash-MD, Mirror-Prox and their relatives. Held to nothing, a seat plays a best response.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marl_engine.cores import compiled
from marl_engine.reference import pulls
from marl_engine.sequences import Form, action_values, best_values, gradients, nash_conv, plan_of, reaches
from marl_engine.tables import Table, TablePolicy, fill, strategy_in, strategy_of_any
from marl_engine.types import Game, Metrics, Profile, Responder


@dataclass
class Exact:
    """Raises ValueError for a game that is not in sequence form."""

    game: Game
    network: Any = None  # the maker of the policies
    seed: int = 0
    device: str = "cpu"
    form: Form = field(init=False)
    steps: int = field(init=False, default=0)  # queries: how often payoffs of or against a profile were asked for
    holds: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if not hasattr(self.game, "form"):
            raise ValueError(
                f"responder=exact needs a game in sequence form, and {type(self.game).__name__} is none; "
                "use responder=ippo"
            )
        self.form = self.game.form
        if not isinstance(self.network, Table | None):
            raise ValueError("responder=exact moves tables; use policy=table")

    def respond(
        self,
        profile: Profile,
        against: Profile | None = None,
        *,
        anchor: Profile | None = None,
        step_size: float = math.inf,
        magnet: Profile | None = None,
        pull: float = 0.0,
    ) -> Metrics:
        """See `Responder`; all seats move at once."""
        own = strategy_in(profile)
        plan = plan_of(self.form, strategy_in(against or profile))
        value = np.empty_like(plan)
        gradients(self.form, plan, value)
        self.steps += 1
        held = [(weight, strategy_in(other)) for other, weight in pulls(magnet, pull, anchor, step_size)]
        if held:
            action_values(self.form, own, value)
            reach = reaches(self.form, own, plan)
            value = np.divide(value, reach, out=np.zeros_like(value), where=reach > 0)
            fill(profile, soft(self.form, value, held))
        else:
            best_values(self.form, value)
            fill(profile, greedy(self.form, value))
        return {}

    def state(self, profile: Profile) -> dict[str, Any]:
        """For a checkpoint."""
        return {"steps": self.steps}

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.steps = state["steps"]


def soft(form: Form, value: np.ndarray, held: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """The strategy (S,) ~ exp[(value + sum of weight * log other) / sum of weights], each information set by itself."""
    with np.errstate(divide="ignore"):
        logit = value + sum(weight * np.log(other) for weight, other in held)
    logit /= sum(weight for weight, _ in held)
    counts = np.diff(form.first)
    starts, players = form.first[:-1], form.players
    highest = np.repeat(np.maximum.reduceat(logit, starts), counts)
    odds = np.exp(logit[players:] - highest)
    total = np.repeat(np.add.reduceat(odds, starts - players), counts)
    return np.concatenate([np.ones(players), odds / total])


def greedy(form: Form, value: np.ndarray) -> np.ndarray:
    """The strategy (S,) of the best action in each information set, the first of several, by their values (S,)."""
    strategy = np.zeros_like(value)
    strategy[: form.players] = 1
    choose(form, value, strategy)
    return strategy


@compiled
def choose(form, value, strategy):
    """Gives the best action of each information set probability 1."""
    for infoset in range(form.parent.size):
        best = form.first[infoset]
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            if value[sequence] > value[best]:
                best = sequence
        strategy[best] = 1.0


def gap(form: Form, strategy: np.ndarray, reference: np.ndarray, pull: float) -> float:
    """How much all would gain by best responses, each paying pull * KL(own || reference). All arguments (S,).

    The duality gap of the regularised game, in the convention of NashConv (the sum over players), which it is for
    pull = 0. A response's value is pull * log sum_a reference(a) exp(q(a) / pull). In a tree every information set
    responds by itself, as in the agent form of the game, whose regularised equilibria are agent quantal response
    equilibria (McKelvey and Palfrey 1998); what it gains counts as often as it is reached.
    """
    plan = plan_of(form, strategy)
    value = np.empty_like(plan)
    gradients(form, plan, value)
    action_values(form, strategy, value)
    reach = reaches(form, strategy, plan)
    q = np.divide(value, reach, out=np.zeros_like(value), where=reach > 0)
    best = best_soft(form, q, reference, pull)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(strategy > 0, pull * np.log(strategy / reference), 0.0)
    players, starts = form.players, form.first[:-1] - form.players
    now = np.add.reduceat((strategy * (q - cost))[players:], starts)
    weight = plan[form.parent] * reach[form.first[:-1]]
    return float(weight @ (best - now))


def best_soft(form: Form, value: np.ndarray, reference: np.ndarray, pull: float) -> np.ndarray:
    """The most (I,) that each information set can make of action values (S,), less pull * KL(choice || reference)."""
    players, starts = form.players, form.first[:-1] - form.players
    highest = np.maximum.reduceat(value[players:], starts)
    if pull == 0:
        return highest
    above = value[players:] - np.repeat(highest, np.diff(form.first))
    return highest + pull * np.log(np.add.reduceat(reference[players:] * np.exp(above / pull), starts))


def measured(
    responder: Responder, profile: Profile, reference: Profile | None = None, pull: float = 0.0, iterate: str = "last"
) -> Metrics:
    """How far the profile is from equilibria, where a responder knows the game's form; what it costs is no query.

    With a reference also the `gap` of the game regularised towards it. `iterate` says which iterate the profile is.
    """
    form = getattr(responder, "form", None)
    if form is None:
        return {}
    game: Any = responder.game  # type: ignore[attr-defined]
    strategy = strategy_of_any(game, profile)
    distance = nash_conv(form, plan_of(form, strategy))
    found = {"nash_conv": distance, f"nash_conv/{iterate}": distance, "queries": float(responder.steps)}
    if reference is not None:
        found["gap"] = gap(form, strategy, strategy_of_any(game, reference), pull)
    return found


def exact(responder: Responder, profile: Profile, asks: str) -> Exact:
    """The responder, if it is this one. Raises ValueError when it is not, or policies are no tables."""
    if not isinstance(responder, Exact) or not all(isinstance(policy, TablePolicy) for policy in profile):
        raise ValueError(f"{asks} and its relatives solve games exactly: use responder=exact policy=table")
    return responder
