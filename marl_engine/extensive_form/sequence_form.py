"""Games with perfect recall in sequence form, as flat arrays (von Stengel 1996).

A sequence of a player is an information set and an action there, together with all own actions that lead to it. The
sequences of all players are numbered together: the empty sequence of player p has number p; then follow those of one
information set after another, with the actions of an information set side by side and parents before children. A matrix
game has one information set for each player.

A plan (S,), short for realization plan, contains for each sequence the product of the probabilities of its own actions.
A strategy (S,), short for behavior strategy, contains only the last factor of this product. A player's payoff is linear
in its own plan, so the gradient (S,) describes the other players completely: it contains what a sequence earns where
the game ends with it, without what its continuations earn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marl_engine.numerics.jit import compile_inline, compile_loop

TOLERANCE = 1e-4  # for sums of probabilities, which networks compute in float32
PARTS = 12  # fractions of the smallest payoff that are tried as a unit
LARGEST = 2**31  # integers must be smaller
ROUNDING = 1e-14  # relative to the largest payoff


class SequenceForm(NamedTuple):
    """A game with S sequences, I information sets, P players and E entries (pairs of a terminal history and a player).

    Indices are stored as unsigned integers, which need no sign test. This makes solvers twice as fast.
    """

    begin: np.ndarray  # (P + 1,) int32: where the information sets of each player begin
    parent: np.ndarray  # (I,) uint32: the own sequence that leads to each information set
    first: np.ndarray  # (I + 1,) uint32: the sequence of its first action
    entry: np.ndarray  # (S + 1,) uint32: where the entries of each sequence begin
    others: np.ndarray  # (E, P - 1) uint16 or uint32: the sequences that the other players end with
    units: np.ndarray  # (E,) int32 or float64: `payoff` in `unit`s, for compiled loops
    chance: np.ndarray  # (E,) float64: the probability of chance
    centre: np.ndarray  # (P,) float64: the middle of each player's payoffs, from which `payoff` is measured
    unit: float

    @property
    def players(self) -> int:
        """The number of players P."""
        return len(self.begin) - 1

    @property
    def sequences(self) -> int:
        """The number of sequences S."""
        return len(self.entry) - 1

    @property
    def payoff(self) -> np.ndarray:
        """Payoffs (E,) float64 of the sequences' players, relative to their `centre`, times the probability of
        chance.
        """
        return self.units * self.unit

    def with_payoff(self, payoff: np.ndarray) -> "SequenceForm":
        """Returns the same game with other payoffs (E,) float64, in the units of `payoff`."""
        return self._replace(units=payoff, unit=1.0)


@compile_inline
def sequence_payoff(form, plan, sequence):
    """Returns what a sequence earns where the game ends with it, if the others follow the plan."""
    total = 0.0
    if form.others.shape[1] == 1:  # two players: no loop over the others, a third of the time
        for entry in range(form.entry[sequence], form.entry[sequence + 1]):
            total += form.units[entry] * plan[form.others[entry, 0]]
        return total * form.unit
    for entry in range(form.entry[sequence], form.entry[sequence + 1]):
        weight = np.float64(form.units[entry])
        for other in range(form.others.shape[1]):
            weight *= plan[form.others[entry, other]]
        total += weight
    return total * form.unit


@compile_loop
def compute_gradient(form, plan, out):
    """Writes the gradient (S,) of each player's payoff in its own plan, against the plan (S,) of the others."""
    for sequence in range(out.size):
        out[sequence] = sequence_payoff(form, plan, sequence)


@compile_loop
def fill_realization_plan(form, strategy, plan):
    """Writes the plan (S,) of a strategy (S,).

    Returns the first information set whose probabilities do not sum to 1, or I.

    NaN is accepted: a solver that diverges produces it, and it shows in everything measured from the plan.
    """
    players, wrong = form.begin.size - 1, form.parent.size
    for player in range(players):
        plan[player] = 1
    for infoset in range(form.parent.size):
        reach, total, least = plan[form.parent[infoset]], 0.0, 0.0
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            plan[sequence] = reach * strategy[sequence]
            total += strategy[sequence]
            least = min(least, strategy[sequence])
        if abs(total - 1) > TOLERANCE or least < 0:
            wrong = min(wrong, infoset)
    return wrong


@compile_loop
def fill_behavior_strategy(form, plan, strategy):
    """Writes the strategy (S,) of a plan (S,); uniform in information sets that the plan does not reach."""
    for player in range(form.begin.size - 1):
        strategy[player] = 1
    for infoset in range(form.parent.size):
        start, stop = form.first[infoset], form.first[infoset + 1]
        reach = 0.0
        for sequence in range(start, stop):
            reach += plan[sequence]
        for sequence in range(start, stop):
            strategy[sequence] = plan[sequence] / reach if reach > 0 else 1 / (stop - start)


@compile_loop
def backup_best_values(form, value):
    """Converts a gradient (S,) in place into the value of each sequence if its player plays best responses afterwards.

    The first P numbers are then the values of the players' best responses.
    """
    for infoset in range(form.parent.size - 1, -1, -1):
        best = -np.inf
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            best = max(best, value[sequence])
        value[form.parent[infoset]] += best


@compile_loop
def backup_action_values(form, strategy, value):
    """Converts a gradient (S,) in place into the value of each sequence if its player follows the strategy (S,)
    afterwards.

    These are counterfactual values: they are weighted by the reach probability of chance and the other players.
    """
    for infoset in range(form.parent.size - 1, -1, -1):
        mean = 0.0
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            mean += strategy[sequence] * value[sequence]
        value[form.parent[infoset]] += mean


def check_sequences(form: SequenceForm, numbers: np.ndarray) -> None:
    """Raises ValueError unless there is one number for each sequence. Compiled code does not check this."""
    if numbers.shape != (form.sequences,):
        raise ValueError(f"this game has {form.sequences} sequences, so one number for each, not {numbers.shape}")


def entry_sequences(form: SequenceForm) -> np.ndarray:
    """Returns the sequence (E,) of each entry."""
    return np.repeat(np.arange(form.sequences), np.diff(form.entry).astype(np.int64))


def owners(form: SequenceForm) -> np.ndarray:
    """Returns the player (S,) of each sequence."""
    players = np.arange(form.players)
    return np.concatenate([players, np.repeat(players, count_actions(form))])


def uniform_strategy(form: SequenceForm) -> np.ndarray:
    """Returns the uniform strategy (S,)."""
    counts = np.diff(form.first)
    return np.concatenate([np.ones(form.players), np.repeat(1 / counts, counts)])


def realization_plan(form: SequenceForm, strategy: np.ndarray) -> np.ndarray:
    """Returns the plan (S,) of a strategy (S,). Raises ValueError if probabilities do not sum to 1."""
    check_sequences(form, strategy)
    plan = np.empty(form.sequences)
    wrong = fill_realization_plan(form, strategy, plan)
    if wrong < len(form.parent):
        chances = strategy[form.first[wrong] : form.first[wrong + 1]].tolist()
        raise ValueError(
            f"a strategy must be chances of 0 or more that add up to 1 in each information set; in number {wrong} they "
            f"are {chances}"
        )
    return plan


def behavior_strategy(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """Returns the strategy (S,) of a plan (S,), or of a sum of plans."""
    check_sequences(form, plan)
    strategy = np.empty(form.sequences)
    fill_behavior_strategy(form, plan, strategy)
    return strategy


def gradient_of(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """Returns the gradient (S,) of each player's payoff in its own plan, against the plan (S,) of the others.

    Payoffs are relative to each player's `centre`.
    """
    check_sequences(form, plan)
    gradient = np.empty(form.sequences)
    compute_gradient(form, plan, gradient)
    return gradient


def sum_by_player(form: SequenceForm, numbers: np.ndarray) -> np.ndarray:
    """Returns the sum of the numbers (S,) of each player's sequences, (P,)."""
    return np.bincount(owners(form), weights=numbers, minlength=form.players)


def counterfactual_reach(form: SequenceForm, strategy: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """Returns the probability (S,) that chance and the others' plan reach each sequence, if its player tries to."""
    value = gradient_of(form.with_payoff(form.chance), plan)
    backup_action_values(form, strategy, value)
    return value


def expected_payoffs(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """Returns each player's expected payoff (P,) if all follow the plan (S,)."""
    return form.centre + sum_by_player(form, gradient_of(form, plan) * plan)


def count_actions(form: SequenceForm) -> np.ndarray:
    """Returns the number of sequences of each player (P,), without the empty ones."""
    return np.diff(form.first[form.begin])


def gains(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """Returns how much each player (P,) gains by a best response to the others' part of a plan (S,)."""
    value = gradient_of(form, plan)  # of payoffs relative to their centre: constants cost no precision
    own = sum_by_player(form, value * plan)
    backup_best_values(form, value)
    return value[: form.players] - own


def nash_conv(form: SequenceForm, plan: np.ndarray) -> float:
    """Returns the sum over players of what a best response gains; 0 at an equilibrium (Lanctot et al. 2017)."""
    return float(gains(form, plan).sum())


class TerminalHistories(NamedTuple):
    """The N terminal histories from which a SequenceForm is built."""

    last: np.ndarray  # (N, P) the last sequence of each player
    payoff: np.ndarray  # (N, P)
    chance: np.ndarray  # (N,) the probability of chance


def build_sequence_form(
    begin: Sequence[int], parent: Sequence[int], first: Sequence[int], ends: TerminalHistories
) -> SequenceForm:
    """Builds the sequence form, merging terminal histories with equal sequences."""
    players = len(begin) - 1
    last, group = unique_rows(ends.last, int(first[-1]))
    centre = ends.payoff.min(0) / 2 + ends.payoff.max(0) / 2
    weights = (*((ends.payoff - centre) * ends.chance[:, None]).T, ends.chance)
    *payoffs, chance = (np.bincount(group, weights=each, minlength=len(last)) for each in weights)
    sequence = last.T.ravel()  # entries of player 0, then of player 1, …
    others = np.concatenate([np.delete(last, player, axis=1) for player in range(players)])
    order = np.lexsort((*others.T[::-1], sequence))
    units, unit = quantise_payoffs(np.concatenate(payoffs)[order])
    return SequenceForm(
        begin=np.array(begin, np.int32),
        parent=np.array(parent, np.uint32),
        first=np.array(first, np.uint32),
        entry=np.concatenate([[0], np.bincount(sequence, minlength=first[-1]).cumsum()]).astype(np.uint32),
        others=np.ascontiguousarray(others[order], np.uint16 if first[-1] <= 2**16 else np.uint32),
        units=units,
        chance=np.tile(chance, players)[order],
        centre=centre,
        unit=unit,
    )


def unique_rows(rows: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct sorted rows of an array (N, P), and the index of each row among them.

    The numbers are below `bound`.
    """
    if bound ** rows.shape[1] >= 2**63:
        distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
        return distinct, inverse.ravel()
    digits = bound ** np.arange(rows.shape[1])[::-1]  # rows encoded as one number sort faster
    _, index, inverse = np.unique(rows @ digits, return_index=True, return_inverse=True)
    return rows[index], inverse


def quantise_payoffs(payoff: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns payoffs as integers and their exact unit; or the payoffs and 1 if there is no common unit."""
    sizes = np.abs(payoff[payoff != 0])
    least, most = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 1.0)
    for part in range(1, PARTS + 1):  # payoffs of 2/30 and 3/30 have the unit 1/30
        unit = least / part
        if unit > 0 and most / unit < LARGEST:
            integers = (payoff / unit).round()
            if np.abs(integers * unit - payoff).max() <= ROUNDING * most:
                return integers.astype(np.int32), unit
    return payoff, 1.0
