"""Play along the tree of a game as compiled loops: the rules of a turn, for games that are asked turn by turn and for
whole stretches of play by policies whose logits are known beforehand.

Chance in a copy is a function of the copy's seed and of how often chance has drawn in it; actions are sampled by the
noise of `draw_uniforms`. So both ways of playing give the same games, to the bit.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.extensive_form.tree import CHANCE, Tree, cumulative_chance
from marl_engine.numerics.distributions.categorical import take_share
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.rng import draw_uniform, mix_word

CHANCE_STREAM = np.uint64(0x5DEECE66D)  # separates the noise of chance from that of policies


class TreeRules(NamedTuple):
    """The arrays of a `Tree` that play reads, with N histories, C children, I information sets, A actions, P players.

    Indices have no sign: numba tests those with a sign at every access.
    """

    player: np.ndarray  # (N,) int8: whose move it is, CHANCE or END
    infoset: np.ndarray  # (N,) uint32; at an end: row of `payoff`
    child: np.ndarray  # (N + 1,) uint32: where the children of each history begin
    to: np.ndarray  # (C,) uint32: the history of each child
    cumulative: np.ndarray  # (C,) float64: probabilities of chance, cumulated within each history
    payoff: np.ndarray  # (ends, P) float64
    legal: np.ndarray  # (I, A) bool
    rank: np.ndarray  # (I, A) uint32: which child a legal action leads to


class GameCopies(NamedTuple):
    """B copies of a game; loops of play change the first two in place."""

    history: np.ndarray  # (B,) uint64
    draws: np.ndarray  # (B,) uint64: how often chance has drawn
    seed: np.ndarray  # (B,) uint64


class Position(NamedTuple):
    """What the seats see in N copies, or in B copies at N / B turns; see `Turn`."""

    observation: np.ndarray  # (N, P) int32
    legal: np.ndarray  # (N, P, A) bool
    acting: np.ndarray  # (N, P) bool


class Outcome(NamedTuple):
    """What N steps earned; see `Turn`."""

    reward: np.ndarray  # (N, P) float32
    done: np.ndarray  # (N,) bool


class Choice(NamedTuple):
    """What the seats did in N rows."""

    action: np.ndarray  # (N, P) int64
    log_prob: np.ndarray  # (N, P) float32


def tree_rules(tree: Tree) -> TreeRules:
    """Returns the arrays of a tree that play reads."""
    return TreeRules(
        player=tree.player,
        infoset=tree.infoset.view(np.uint32),
        child=tree.child.view(np.uint32),
        to=tree.to.view(np.uint32),
        cumulative=cumulative_chance(tree),
        payoff=tree.payoff,
        legal=tree.legal,
        rank=(tree.legal.cumsum(1, dtype=np.int32) - 1).view(np.uint32),
    )


def blank_position(rules: TreeRules, rows: int) -> Position:
    """Returns N rows in which no seat moves; `write_observation` adds the observation of the seat that does."""
    players, actions = rules.payoff.shape[1], rules.legal.shape[1]
    seats = (rows, players)
    return Position(np.full(seats, -1, np.int32), np.ones((*seats, actions), np.bool_), np.zeros(seats, np.bool_))


def blank_outcome(rules: TreeRules, rows: int) -> Outcome:
    """Returns N rows without rewards and ends; `advance_to_decision` writes those of games that end."""
    return Outcome(np.zeros((rows, rules.payoff.shape[1]), np.float32), np.zeros(rows, np.bool_))


def empty_choice(rules: TreeRules, rows: int) -> Choice:
    """Returns N uninitialised rows for actions and log-probabilities."""
    seats = (rows, rules.payoff.shape[1])
    return Choice(np.empty(seats, np.int64), np.empty(seats, np.float32))


@compile_inline
def sample_chance(rules, history, noise):
    """Returns the history that chance moves to: the first child whose cumulated probability exceeds the noise.

    The loop does not stop there: a wrong guess of where it stops costs more than looking at the rest.
    """
    chosen = first = np.int64(rules.child[history])
    for child in range(first, np.int64(rules.child[history + np.uint64(1)]) - 1):
        chosen += rules.cumulative[child] <= noise
    return np.uint64(rules.to[chosen])


@compile_inline
def advance_to_decision(rules, copies, copy, history, outcome, row):
    """Moves a copy from a history to the next one in which a player decides.

    Chance is sampled, and a game that has ended is followed by a new one. Row `row` of the outcome gets the payoffs of
    the first game that ends on the way; in later ones nobody has acted.
    """
    while rules.player[history] < 0:
        if rules.player[history] == CHANCE:
            copies.draws[copy] += np.uint64(1)
            noise = draw_uniform(mix_word(copies.seed[copy] ^ CHANCE_STREAM), copies.draws[copy])
            history = sample_chance(rules, history, noise)
        else:
            if not outcome.done[row]:
                outcome.done[row] = True
                for seat in range(rules.payoff.shape[1]):
                    outcome.reward[row, seat] = rules.payoff[rules.infoset[history], seat]
            history = np.uint64(0)
    copies.history[copy] = history


@compile_inline
def write_observation(rules, history, position, row):
    """Writes the observation and the legal actions of the seat that moves into a blank row."""
    mover, infoset = rules.player[history], rules.infoset[history]
    position.observation[row, mover] = infoset
    position.acting[row, mover] = True
    for action in range(rules.legal.shape[1]):
        position.legal[row, mover, action] = rules.legal[infoset, action]


@compile_inline
def is_legal(rules, history, action):
    """Whether an action is legal in a history in which a player decides."""
    return 0 <= action < rules.legal.shape[1] and rules.legal[rules.infoset[history], action]


@compile_inline
def child_of(rules, history, action):
    """Returns the history to which a legal action leads."""
    return np.uint64(rules.to[rules.child[history] + rules.rank[rules.infoset[history], action]])


@compile_loop
def advance_copies(rules, copies, outcome):
    """Moves all copies to a decision; see `advance_to_decision`."""
    for copy in range(copies.seed.size):
        advance_to_decision(rules, copies, copy, copies.history[copy], outcome, copy)


@compile_loop
def write_observations(rules, copies, position):
    """Writes the observations of the seats that move in all copies; see `write_observation`."""
    for copy in range(copies.seed.size):
        write_observation(rules, copies.history[copy], position, copy)


@compile_loop
def move_copies(rules, copies, actions, outcome):
    """Plays actions (B, P), of which those of the seats that move count.

    Returns the first copy in which that is illegal, in which case none has moved; else -1.
    """
    for copy in range(copies.seed.size):
        history = copies.history[copy]
        if not is_legal(rules, history, actions[copy, rules.player[history]]):
            return copy
    for copy in range(copies.seed.size):
        history = copies.history[copy]
        history = child_of(rules, history, actions[copy, rules.player[history]])
        advance_to_decision(rules, copies, copy, history, outcome, copy)
    return -1


@compile_loop
def play_stretch(rules, copies, shares, log_probs, seeds, clock, position, choice, outcome):
    """Plays T turns in B copies, from decision `clock` on; arrays have T * B rows, turn by turn.

    Probabilities `shares` (I + P, A) and their logarithms are those of all information sets, and after them, of each
    seat while others move; actions are drawn by the noise of `seeds` (B,) uint64. Returns the first row in which an
    action was illegal, in which case play ended there; else -1.
    """
    infosets, players, count = rules.legal.shape[0], rules.payoff.shape[1], seeds.size
    for turn in range(outcome.done.size // count):
        for copy in range(count):
            row, history = turn * count + copy, copies.history[copy]
            write_observation(rules, history, position, row)
            mover, infoset = rules.player[history], np.int64(rules.infoset[history])
            for seat in range(players):
                infoset_row = infoset if seat == mover else infosets + seat
                left, chosen = draw_uniform(seeds[copy], np.uint64((clock + turn) * players + seat + 1)), 0
                for action in range(shares.shape[1]):
                    left, chosen = take_share(left, chosen, shares[infoset_row, action], action)
                choice.action[row, seat], choice.log_prob[row, seat] = chosen, log_probs[infoset_row, chosen]
            if not is_legal(rules, history, choice.action[row, mover]):
                return row
            history = child_of(rules, history, choice.action[row, mover])
            advance_to_decision(rules, copies, copy, history, outcome, row)
    return -1
