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
    """What play needs of a tree."""
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
    """What seats see that do not move; `show` writes what the others see."""
    players, actions = rules.payoff.shape[1], rules.legal.shape[1]
    seats = (rows, players)
    return Position(np.full(seats, -1, np.int32), np.ones((*seats, actions), np.bool_), np.zeros(seats, np.bool_))


def blank_outcome(rules: TreeRules, rows: int) -> Outcome:
    """What steps earn that end no game; `settle` writes what the others earn."""
    return Outcome(np.zeros((rows, rules.payoff.shape[1]), np.float32), np.zeros(rows, np.bool_))


def empty_choice(rules: TreeRules, rows: int) -> Choice:
    """Room for what the seats do."""
    seats = (rows, rules.payoff.shape[1])
    return Choice(np.empty(seats, np.int64), np.empty(seats, np.float32))


@compile_inline
def deal(rules, history, noise):
    """The history that chance moves to: the first child whose cumulated probability exceeds the noise.

    The loop does not stop there: a wrong guess of where it stops costs more than looking at the rest.
    """
    chosen = first = np.int64(rules.child[history])
    for child in range(first, np.int64(rules.child[history + np.uint64(1)]) - 1):
        chosen += rules.cumulative[child] <= noise
    return np.uint64(rules.to[chosen])


@compile_inline
def settle(rules, copies, copy, history, outcome, row):
    """Moves chance, and opens games that are over anew, until somebody decides; that is where the copy is then.

    Row `row` of the outcome becomes what the first game that ended on the way paid; in later ones nobody has acted.
    """
    while rules.player[history] < 0:
        if rules.player[history] == CHANCE:
            copies.draws[copy] += np.uint64(1)
            noise = draw_uniform(mix_word(copies.seed[copy] ^ CHANCE_STREAM), copies.draws[copy])
            history = deal(rules, history, noise)
        else:
            if not outcome.done[row]:
                outcome.done[row] = True
                for seat in range(rules.payoff.shape[1]):
                    outcome.reward[row, seat] = rules.payoff[rules.infoset[history], seat]
            history = np.uint64(0)
    copies.history[copy] = history


@compile_inline
def show(rules, history, position, row):
    """Writes what the seat that moves sees; the rest of the row is blank."""
    mover, infoset = rules.player[history], rules.infoset[history]
    position.observation[row, mover] = infoset
    position.acting[row, mover] = True
    for action in range(rules.legal.shape[1]):
        position.legal[row, mover, action] = rules.legal[infoset, action]


@compile_inline
def may_play(rules, history, action):
    """Whether an action is legal where somebody decides."""
    return 0 <= action < rules.legal.shape[1] and rules.legal[rules.infoset[history], action]


@compile_inline
def follow(rules, history, action):
    """The history that a legal action leads to."""
    return np.uint64(rules.to[rules.child[history] + rules.rank[rules.infoset[history], action]])


@compile_loop
def settle_copies(rules, copies, outcome):
    """`settle` in all copies."""
    for copy in range(copies.seed.size):
        settle(rules, copies, copy, copies.history[copy], outcome, copy)


@compile_loop
def show_copies(rules, copies, position):
    """`show` for all copies."""
    for copy in range(copies.seed.size):
        show(rules, copies.history[copy], position, copy)


@compile_loop
def move_copies(rules, copies, actions, outcome):
    """Plays actions (B, P), of which those of the seats that move count.

    Returns the first copy in which that is illegal, in which case none has moved; else -1.
    """
    for copy in range(copies.seed.size):
        history = copies.history[copy]
        if not may_play(rules, history, actions[copy, rules.player[history]]):
            return copy
    for copy in range(copies.seed.size):
        history = copies.history[copy]
        history = follow(rules, history, actions[copy, rules.player[history]])
        settle(rules, copies, copy, history, outcome, copy)
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
            show(rules, history, position, row)
            mover, infoset = rules.player[history], np.int64(rules.infoset[history])
            for seat in range(players):
                infoset_row = infoset if seat == mover else infosets + seat
                left, chosen = draw_uniform(seeds[copy], np.uint64((clock + turn) * players + seat + 1)), 0
                for action in range(shares.shape[1]):
                    left, chosen = take_share(left, chosen, shares[infoset_row, action], action)
                choice.action[row, seat], choice.log_prob[row, seat] = chosen, log_probs[infoset_row, chosen]
            if not may_play(rules, history, choice.action[row, mover]):
                return row
            history = follow(rules, history, choice.action[row, mover])
            settle(rules, copies, copy, history, outcome, row)
    return -1
