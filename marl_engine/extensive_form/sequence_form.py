"""Games in sequence form: everything that an exact solver needs of a game with perfect recall, as flat arrays.

A sequence of a player is an information set and an action there; playing it means having played all own
actions that lead there (von Stengel 1996). The sequences of all players are numbered together: the empty
sequence of player p is number p, then those of information set after information set, the actions of one side
by side, parents before children. A matrix game has one information set for each player.

A plan (S,) holds, for each sequence, the product of the probabilities of its own actions; a strategy (S,)
the last factor of that product alone. A player's payoff is linear in its own plan, so a gradient (S,) says
all that there is to know about the others: what a sequence earns at the end of games, children left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marl_engine.numerics.jit import compile_inline, compile_loop

TOLERANCE = 1e-4  # of sums of chances, which a network gives in float32
PARTS = 12  # of the smallest payoff that are tried as a unit
LARGEST = 2**31  # whole numbers are below
ROUNDING = 1e-14  # of the largest payoff


class SequenceForm(NamedTuple):
    """S sequences, I information sets, P players, E entries: pairs of an end of the game and a player.

    Numbers of things have no sign: one that cannot be negative needs no test when it is an index, and solving is
    twice as fast for it.
    """

    begin: np.ndarray  # (P + 1,) int32: where the information sets of each player begin
    parent: np.ndarray  # (I,) uint32: the own sequence that leads to an information set
    first: np.ndarray  # (I + 1,) uint32: the sequence of its first action
    entry: np.ndarray  # (S + 1,) uint32: where the entries of each sequence begin
    others: np.ndarray  # (E, P - 1) uint16 or uint32: the sequences that the other players end with
    units: np.ndarray  # (E,) int32 or float64: `payoff` in `unit`s, for compiled loops
    chance: np.ndarray  # (E,) float64: the probability of chance alone
    centre: np.ndarray  # (P,) float64: the middle of what each player can earn, from which `payoff` is counted
    unit: float

    @property
    def players(self) -> int:
        """P."""
        return len(self.begin) - 1

    @property
    def sequences(self) -> int:
        """S."""
        return len(self.entry) - 1

    @property
    def payoff(self) -> np.ndarray:
        """Payoffs (E,) float64 to the player of the sequence above its `centre`, times the probability of chance."""
        return self.units * self.unit

    def with_payoff(self, payoff: np.ndarray) -> "SequenceForm":
        """The same game with other payoffs (E,) float64, counted as `payoff` is."""
        return self._replace(units=payoff, unit=1.0)


@compile_inline
def sequence_payoff(form, plan, sequence):
    """What a sequence earns where the game ends with it, if the others follow the plan."""
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
    """The gradient (S,) of every player's payoff by its own plan, the others following the plan (S,)."""
    for sequence in range(out.size):
        out[sequence] = sequence_payoff(form, plan, sequence)


@compile_loop
def fill_realization_plan(form, strategy, plan):
    """The plan (S,) of a strategy (S,). Returns the first information set that has no chances which add up to 1, or I.

    NaN passes: it is what a solver comes to that diverges, and whatever is measured of it tells.
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
    """The strategy (S,) of a plan (S,); uniform where the plan does not go."""
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
    """Turns a gradient (S,) into what each sequence is worth to a player who goes on as well as it can.

    In place; the first P numbers are then the values of best responses.
    """
    for infoset in range(form.parent.size - 1, -1, -1):
        best = -np.inf
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            best = max(best, value[sequence])
        value[form.parent[infoset]] += best


@compile_loop
def backup_action_values(form, strategy, value):
    """Turns a gradient (S,) into what each sequence is worth to a player who goes on by the strategy (S,).

    In place; counterfactual values, that is weighted by the probability that the others and chance let it happen.
    """
    for infoset in range(form.parent.size - 1, -1, -1):
        mean = 0.0
        for sequence in range(form.first[infoset], form.first[infoset + 1]):
            mean += strategy[sequence] * value[sequence]
        value[form.parent[infoset]] += mean


def check_sequences(form: SequenceForm, numbers: np.ndarray) -> None:
    """Raises ValueError unless there is one number for each sequence, before compiled code looks for them."""
    if numbers.shape != (form.sequences,):
        raise ValueError(f"this game has {form.sequences} sequences, so one number for each, not {numbers.shape}")


def entry_sequences(form: SequenceForm) -> np.ndarray:
    """The sequence (E,) that each entry belongs to."""
    return np.repeat(np.arange(form.sequences), np.diff(form.entry).astype(np.int64))


def owners(form: SequenceForm) -> np.ndarray:
    """The player (S,) that each sequence is of."""
    players = np.arange(form.players)
    return np.concatenate([players, np.repeat(players, count_actions(form))])


def uniform_strategy(form: SequenceForm) -> np.ndarray:
    """The strategy (S,) that chooses every action alike."""
    counts = np.diff(form.first)
    return np.concatenate([np.ones(form.players), np.repeat(1 / counts, counts)])


def realization_plan(form: SequenceForm, strategy: np.ndarray) -> np.ndarray:
    """The plan (S,) of a strategy (S,). Raises ValueError for chances that do not add up to 1."""
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
    """The strategy (S,) of a plan (S,), or of a sum of plans."""
    check_sequences(form, plan)
    strategy = np.empty(form.sequences)
    fill_behavior_strategy(form, plan, strategy)
    return strategy


def counterfactual_reach(form: SequenceForm, strategy: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """How probable the others' plan and chance make each sequence (S,), if its player means to play it."""
    value = np.empty_like(plan)
    compute_gradient(form.with_payoff(form.chance), plan, value)
    backup_action_values(form, strategy, value)
    return value


def expected_payoffs(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """What each player earns (P,) when all follow a plan (S,)."""
    check_sequences(form, plan)
    gradient = np.empty_like(plan)
    compute_gradient(form, plan, gradient)
    return form.centre + np.bincount(owners(form), weights=gradient * plan, minlength=form.players)


def count_actions(form: SequenceForm) -> np.ndarray:
    """How many sequences of actions each player has (P,)."""
    return np.diff(form.first[form.begin])


def best_response_values(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """What each player could earn (P,) by a best response to the others' part of a plan (S,)."""
    check_sequences(form, plan)
    value = np.empty_like(plan)
    compute_gradient(form, plan, value)
    backup_best_values(form, value)
    return form.centre + value[: form.players]


def gains(form: SequenceForm, plan: np.ndarray) -> np.ndarray:
    """What a best response to the others' part of a plan (S,) gains each player (P,)."""
    centred = form._replace(centre=np.zeros(form.players))  # what a player earns in any case costs no digits
    return best_response_values(centred, plan) - expected_payoffs(centred, plan)


def nash_conv(form: SequenceForm, plan: np.ndarray) -> float:
    """The sum over players of what a best response gains; 0 at an equilibrium (Lanctot et al. 2017, section 2)."""
    return float(gains(form, plan).sum())


class TerminalHistories(NamedTuple):
    """The N ends of a game, while a form is built; those that nobody can tell apart may be one, or several."""

    last: np.ndarray  # (N, P) the last sequence of each player
    payoff: np.ndarray  # (N, P)
    chance: np.ndarray  # (N,) the probability of chance


def build_sequence_form(
    begin: Sequence[int], parent: Sequence[int], first: Sequence[int], ends: TerminalHistories
) -> SequenceForm:
    """The form of a game from its information sets and ends; ends with the same sequences are added up."""
    players = len(begin) - 1
    last, same = unique_rows(ends.last, int(first[-1]))
    centre = ends.payoff.min(0) / 2 + ends.payoff.max(0) / 2
    weights = (*((ends.payoff - centre) * ends.chance[:, None]).T, ends.chance)
    *earned, chance = (np.bincount(same, weights=each, minlength=len(last)) for each in weights)
    own = last.T.ravel()  # entries of player 0, then of player 1, …
    rest = np.concatenate([np.delete(last, player, axis=1) for player in range(players)])
    order = np.lexsort((*rest.T[::-1], own))
    units, unit = quantise_payoffs(np.concatenate(earned)[order])
    return SequenceForm(
        begin=np.array(begin, np.int32),
        parent=np.array(parent, np.uint32),
        first=np.array(first, np.uint32),
        entry=np.concatenate([[0], np.bincount(own, minlength=first[-1]).cumsum()]).astype(np.uint32),
        others=np.ascontiguousarray(rest[order], np.uint16 if first[-1] <= 2**16 else np.uint32),
        units=units,
        chance=np.tile(chance, players)[order],
        centre=centre,
        unit=unit,
    )


def unique_rows(rows: np.ndarray, below: int) -> tuple[np.ndarray, np.ndarray]:
    """The different rows (N, P) of numbers below `below`, in order, and for each row which of them it is."""
    if below ** rows.shape[1] >= 2**63:
        found, same = np.unique(rows, axis=0, return_inverse=True)
        return found, same.ravel()
    digits = below ** np.arange(rows.shape[1])[::-1]  # a row as one number sorts faster
    _, index, same = np.unique(rows @ digits, return_index=True, return_inverse=True)
    return rows[index], same


def quantise_payoffs(payoff: np.ndarray) -> tuple[np.ndarray, float]:
    """Payoffs as whole numbers of a unit, exact in half the bytes; as they are, of unit 1, where there is none."""
    sizes = np.abs(payoff[payoff != 0])
    least, most = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 1.0)
    for part in range(1, PARTS + 1):  # payoffs of 2 and 3 thirtieths have the unit of one thirtieth
        unit = least / part
        if unit > 0 and most / unit < LARGEST:
            whole = (payoff / unit).round()
            if np.abs(whole * unit - payoff).max() <= ROUNDING * most:
                return whole.astype(np.int32), unit
    return payoff, 1.0
