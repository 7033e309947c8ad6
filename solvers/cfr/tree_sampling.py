"""Traversals of a game's tree that sample a part of it, and what they teach: the kernels of Monte Carlo CFR.

Lanctot et al. 2009, "Monte Carlo Sampling for Regret Minimization in Extensive Games", sections 3.1 and 3.2. With u
what the player that learns earns at the end, and sigma the current strategies, by regret matching:

    external    chance and the others are sampled, each own action is followed. Where h in I is passed, with v the mean
                of u over what was sampled below: r(I, a) = v(ha) - v(h)
    outcome     one way to one end; an own action is taken with xi = exploration / A + (1 - exploration) * sigma.
                r(I, a) = w(a) - sum over b of sigma(b) * w(b), where w is 0 but for the action that was taken, whose
                w is u * (product of sigma of the later own actions) / (product of xi of all own actions)

Both are the regrets of CFR in expectation. The average strategy grows by sigma in the information sets of the next
player that are passed; where own exploration or third players had a say in that, by sigma over their probability. In
expectation that is a plan, times the probability with which chance alone allows the information set.

Departs from the paper in three ways. The others' actions are drawn in each history anew, not once for an information
set, which leaves all expectations as they are. In outcome sampling too, averages are kept where the next player moves
and not where the learning one does, so that less is divided by. The probabilities of third players are divided by,
without which the average of three players would weigh iterations by what the others did in them.
"""

from typing import Any, NamedTuple

import numpy as np

from marl_engine.extensive_form.sequence_form import SequenceForm
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.rng import WORD_GOLDEN, mix_word

CHANCE, END = 254, 255  # who moves, beside players
MOVER, FIRST, CHILD, COUNT = range(4)  # what is known of a history
RIGHT_11 = np.uint64(11)
ROOT, ONE = np.uint64(0), np.uint64(1)


class Paths(NamedTuple):
    """A tree of N histories, numbered anew so that the children of each stand side by side.

    What is asked of a history stands together, for memory is what traversals wait for; without a sign, as in `Form`.
    """

    history: np.ndarray  # (N, 4) uint32: mover, first sequence (at an end: row of `payoff`), first child, children
    since: np.ndarray  # (N,) float64: the probability with which chance goes to a sibling before it
    payoff: np.ndarray  # (ends, P) float64


class Learned(NamedTuple):
    """What is known after so many traversals, and room for one: it never passes as many histories as there are
    sequences (S). With outcome sampling, of actions taken instead of histories passed: the sequence, and sigma.
    """

    regret: np.ndarray  # (S,)
    total: np.ndarray  # (S,) weighted sum of strategies
    passed: np.ndarray  # (S,) uint32: histories in which the player moves, and ends
    below: np.ndarray  # (S,) uint32: where in `passed` their children begin
    value: np.ndarray  # (S,) of each of them
    weight: np.ndarray  # (S,) one over the probability with which third players go there


def paths(tree: Any, form: SequenceForm) -> Paths:
    """The arrays of a tree with the information sets of a form, each history's children in the order of actions."""
    old = np.concatenate([[0], tree.to])  # those of one history follow each other in `to`
    mover, infoset, count = tree.player[old].astype(np.int64), tree.infoset[old], np.diff(tree.child)
    first = np.where(mover >= 0, form.first[np.where(mover >= 0, infoset, 0)], infoset)
    mover = np.select([mover == -1, mover == -2], [CHANCE, END], mover)
    upto = np.concatenate([[0.0], np.cumsum(tree.chance)])
    since = np.concatenate([[0.0], upto[:-1] - np.repeat(upto[tree.child[:-1]], count)])
    history = np.stack([mover, first, tree.child[old] + 1, count[old]], axis=1)
    return Paths(history.astype(np.uint32), since, np.ascontiguousarray(tree.payoff))


def learned(regret: np.ndarray, total: np.ndarray) -> Learned:
    """What is known, with room for a traversal."""
    passed, below = np.zeros((2, len(regret)), np.uint32)
    value, weight = np.zeros((2, len(regret)))
    return Learned(regret, total, passed, below, value, weight)


@compile_inline
def drawn(given, key, place):
    """The uniform number in [0, 1) of a place in the traversal `key`, unless it is given."""
    if place < given.size:
        return given[place]
    return np.float64(mix_word(key + WORD_GOLDEN * np.uint64(place + 1)) >> RIGHT_11) * 2.0**-53


@compile_inline
def dealt(paths, history, noise):
    """The child that chance chooses. No loop here stops early: a wrong guess costs more than looking at the rest."""
    child = np.uint64(paths.history[history, CHILD])
    chosen = child
    for other in range(child + ONE, child + paths.history[history, COUNT]):
        if paths.since[other] <= noise:
            chosen = other
    return chosen


@compile_inline
def odds(regret, first, count):
    """Two numbers (scale, least) with sigma = scale * [regret]+ + least in an information set: regret matching."""
    whole = 0.0
    for sequence in range(first, first + count):
        whole += max(regret[sequence], 0.0)
    return (1 / whole, 0.0) if whole > 0 else (0.0, 1 / np.float64(count))


@compile_inline
def taken(regret, first, count, scale, least, noise):
    """The sequence that noise takes by probabilities scale * [regret]+ + least, and how probable it was."""
    since, chosen, likely = 0.0, first, 1.0
    for sequence in range(first, first + count):
        share = scale * max(regret[sequence], 0.0) + least
        if since <= noise and share > 0:
            chosen, likely = sequence, share
        since += share
    return chosen, likely


@compile_inline
def sampled(paths, known, player, history, weight, key, given, place):
    """From a history on by chance and others to the next in which the player moves, or an end.

    Returns it, `weight` over the probabilities of what third players did on the way, and the place of the next draw.
    """
    following = (player + 1) % paths.payoff.shape[1]
    mover = paths.history[history, MOVER]
    while mover != player and mover != END:
        noise = drawn(given, key, place)
        place += 1
        if mover == CHANCE:
            history = dealt(paths, history, noise)
        else:
            first, count = paths.history[history, FIRST], paths.history[history, COUNT]
            scale, least = odds(known.regret, first, count)
            sequence, likely = taken(known.regret, first, count, scale, least, noise)
            if mover == following:
                for each in range(first, first + count):
                    known.total[each] += weight * (scale * max(known.regret[each], 0.0) + least)
            else:
                weight /= likely
            history = paths.history[history, CHILD] + (sequence - first)
        mover = paths.history[history, MOVER]
    return history, weight, place


@compile_inline
def external(paths, known, player, key, given):
    """A traversal by external sampling, down and back up; returns how many histories it touched."""
    known.passed[0], known.weight[0] = 0, 1.0
    place, here, room = 0, 0, 1
    while here < room:
        history, weight, place = sampled(
            paths, known, player, known.passed[here], known.weight[here], key, given, place
        )
        known.passed[here], known.below[here] = history, room
        if paths.history[history, MOVER] == END:
            known.value[here] = paths.payoff[paths.history[history, FIRST], player]
        else:
            for step in range(paths.history[history, COUNT]):
                known.passed[room], known.weight[room] = paths.history[history, CHILD] + step, weight
                room += 1
        here += 1
    for here in range(room - 1, -1, -1):
        history = known.passed[here]
        if paths.history[history, MOVER] == player:
            known.value[here] = regretted(
                known, paths.history[history, FIRST], paths.history[history, COUNT], known.below[here]
            )
    return place + room


@compile_inline
def regretted(known, first, count, below):
    """Adds the regrets of a history whose children's values begin at `below`; returns its own value."""
    scale, least = odds(known.regret, first, count)
    mean = 0.0
    for step in range(count):
        mean += (scale * max(known.regret[first + step], 0.0) + least) * known.value[below + step]
    for step in range(count):
        known.regret[first + step] += known.value[below + step] - mean
    return mean


@compile_inline
def outcome(paths, known, player, exploration, key, given):
    """A traversal by outcome sampling; returns how many histories it touched."""
    history, weight, place = sampled(paths, known, player, ROOT, 1.0, key, given, 0)
    steps, rarity = 0, 1.0  # one over the probability of the own actions
    while paths.history[history, MOVER] != END:
        first, count = paths.history[history, FIRST], paths.history[history, COUNT]
        scale, least = odds(known.regret, first, count)
        even = exploration / np.float64(count) + (1 - exploration) * least
        noise = drawn(given, key, place)
        sequence, likely = taken(known.regret, first, count, (1 - exploration) * scale, even, noise)
        known.passed[steps], known.below[steps] = history, sequence
        known.value[steps] = scale * max(known.regret[sequence], 0.0) + least
        steps, rarity = steps + 1, rarity / likely
        child = paths.history[history, CHILD] + (sequence - first)
        history, weight, place = sampled(paths, known, player, child, weight / likely, key, given, place + 1)
    worth = paths.payoff[paths.history[history, FIRST], player] * rarity
    for step in range(steps - 1, -1, -1):
        history, mean = known.passed[step], known.value[step] * worth
        first = paths.history[history, FIRST]
        for sequence in range(first, first + paths.history[history, COUNT]):
            known.regret[sequence] -= mean
        known.regret[known.below[step]] += worth
        worth = mean
    return place + 1


@compile_loop
def traverse(paths, known, exploration, seed, after, count, given):
    """Traversals `after` + 1 to `after` + `count`, each player learning in turn; returns how many histories they
    touched. With an exploration of 0 sampling is external. `given` (n,) are the first uniform numbers of each.
    """
    touched, players = 0, paths.payoff.shape[1]
    origin = mix_word(np.uint64(seed))
    for number in range(after, after + count):
        key = mix_word(origin + WORD_GOLDEN * np.uint64(number + 1))
        if exploration > 0:
            touched += outcome(paths, known, number % players, exploration, key, given)
        else:
            touched += external(paths, known, number % players, key, given)
    return touched
