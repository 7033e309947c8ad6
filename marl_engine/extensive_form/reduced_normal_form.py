"""The normal form of a game in sequence form: whoever plays decides beforehand, once for all that may happen.

It is the reduced one (von Stengel 1996, section 2): plans that differ only where they do not let themselves come count
once. Kuhn poker has 27 plans for the first player and 64 for the second, of 64 each.
"""

from math import prod
from string import ascii_lowercase

import numpy as np

from marl_engine.extensive_form.sequence_form import SequenceForm

LARGEST = 1_000_000  # combinations of plans


def reduce_to_normal_form(form: SequenceForm) -> np.ndarray:
    """The payoffs (P, plans of each of the P players). Raises ValueError when there are too many."""
    size = prod(count_pure_plans(form))
    if size > LARGEST:
        raise ValueError(f"its normal form has {size:.1g} combinations of plans, and at most {LARGEST:,} are listed")
    plans = [list_pure_plans(form, player) for player in range(form.players)]
    letters = ascii_lowercase[: form.players]
    subscripts = ",".join(f"{letter}z" for letter in letters) + f",z->{letters}"
    own = np.repeat(np.arange(form.sequences), np.diff(form.entry))
    found = []
    for player, plan in enumerate(plans):
        mine = np.flatnonzero(plan.max(0)[own])
        last = np.insert(form.others[mine].astype(np.int64), player, own[mine], axis=1)  # (entries, P)
        ends = [each[:, last[:, seat]] for seat, each in enumerate(plans)]
        found.append(np.einsum(subscripts, *ends, form.payoff[mine], optimize=True) + form.centre[player])
    return np.stack(found)


def count_pure_plans(form: SequenceForm) -> list[float]:
    """How many pure plans each player has (P,)."""
    count = np.ones(form.sequences)
    with np.errstate(over="ignore"):
        for infoset in range(len(form.parent) - 1, -1, -1):
            count[form.parent[infoset]] *= count[form.first[infoset] : form.first[infoset + 1]].sum()
    return count[: form.players].tolist()


def list_pure_plans(form: SequenceForm, player: int) -> np.ndarray:
    """The pure plans (K, S) of a player, in the order of its actions; 0 for sequences of others."""
    below: dict[int, list[list[int]]] = {}  # the ways to play on after a sequence
    for infoset in range(form.begin[player + 1] - 1, form.begin[player] - 1, -1):
        actions = range(form.first[infoset], form.first[infoset + 1])
        here = [[action, *rest] for action in actions for rest in below.pop(action, [[]])]
        parent = int(form.parent[infoset])
        below[parent] = [[*one, *other] for one in here for other in below.get(parent, [[]])]
    ways = below.get(player, [[]])
    plans = np.zeros((len(ways), form.sequences))
    plans[:, player] = 1
    for row, way in zip(plans, ways, strict=True):
        row[way] = 1
    return plans
