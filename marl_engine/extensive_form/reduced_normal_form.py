"""The reduced normal form of a game in sequence form: each player chooses a pure strategy in advance.

Pure strategies that differ only at information sets which they themselves rule out count once (von Stengel 1996,
section 2). In Kuhn poker the first player has 27 such strategies, instead of 64, and the second has 64.
"""

from math import prod
from string import ascii_lowercase

import numpy as np

from marl_engine.extensive_form.sequence_form import SequenceForm, entry_sequences

LARGEST = 1_000_000  # combinations of plans


def reduce_to_normal_form(form: SequenceForm) -> np.ndarray:
    """Returns the payoffs (P, plans of each of the P players).

    Raises ValueError if there are too many combinations.
    """
    size = prod(count_pure_plans(form))
    if size > LARGEST:
        raise ValueError(f"its normal form has {size:.1g} combinations of plans, and at most {LARGEST:,} are listed")
    plans = [list_pure_plans(form, player) for player in range(form.players)]
    letters = ascii_lowercase[: form.players]
    subscripts = ",".join(f"{letter}z" for letter in letters) + f",z->{letters}"
    sequence = entry_sequences(form)
    payoffs = []
    for player, plan in enumerate(plans):
        entries = np.flatnonzero(plan.max(0)[sequence])
        last = np.insert(form.others[entries].astype(np.int64), player, sequence[entries], axis=1)  # (entries, P)
        ends = [each[:, last[:, seat]] for seat, each in enumerate(plans)]
        payoffs.append(np.einsum(subscripts, *ends, form.payoff[entries], optimize=True) + form.centre[player])
    return np.stack(payoffs)


def count_pure_plans(form: SequenceForm) -> list[float]:
    """Returns the number of pure plans of each player (P,)."""
    count = np.ones(form.sequences)
    with np.errstate(over="ignore"):
        for infoset in range(len(form.parent) - 1, -1, -1):
            count[form.parent[infoset]] *= count[form.first[infoset] : form.first[infoset + 1]].sum()
    return count[: form.players].tolist()


def list_pure_plans(form: SequenceForm, player: int) -> np.ndarray:
    """Returns the pure plans (K, S) of a player, in the order of its actions; 0 for sequences of other players."""
    continuations: dict[int, list[list[int]]] = {}  # the continuations of each sequence
    for infoset in range(form.begin[player + 1] - 1, form.begin[player] - 1, -1):
        actions = range(form.first[infoset], form.first[infoset + 1])
        choices = [[action, *rest] for action in actions for rest in continuations.pop(action, [[]])]
        parent = int(form.parent[infoset])
        continuations[parent] = [[*one, *other] for one in choices for other in continuations.get(parent, [[]])]
    ways = continuations.get(player, [[]])
    plans = np.zeros((len(ways), form.sequences))
    plans[:, player] = 1
    for row, way in zip(plans, ways, strict=True):
        row[way] = 1
    return plans
