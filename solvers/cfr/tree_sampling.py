"""Compiled traversals of a game tree for Monte Carlo CFR, with external and outcome sampling.

Lanctot et al. 2009, "Monte Carlo Sampling for Regret Minimization in Extensive Games", sections 3.1 and 3.2. Let u be
the learning player's payoff at the end, and sigma the current strategies, given by regret matching.

    external    Chance and the other players are sampled; all own actions are followed. At a history h in I, with v the
                value of u under sigma over the sampled subtree: r(I, a) = v(ha) - v(h).
    outcome     A single path is sampled; own actions are sampled from
                xi = exploration / A + (1 - exploration) * sigma.
                r(I, a) = w(a) - sum over b of sigma(b) * w(b), where w is 0 except for the sampled action, for which
                w = u * (product of sigma of the later own actions) / (product of xi of all own actions).

Both are the regrets of CFR in expectation. The average strategy is accumulated in the visited information sets of the
next player: sigma is added, divided by the probability with which own exploration and third players led there. In
expectation this is a plan, times the probability with which chance alone leads to the information set.

There are three departures from the paper. The others' actions are sampled anew in each history rather than once for
each information set, which leaves expectations unchanged. In outcome sampling, too, averages are accumulated for the
next player and not for the learning player, so that divisors are larger. The probabilities of third players are divided
by; otherwise the average strategy of three players would be weighted by what the others did in each iteration.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.extensive_form.paths import CHANCE, CHILD, COUNT, END, FIRST, MOVER, ROOT, keyed_uniform, sample_chance
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.rng import WORD_GOLDEN, mix_word


class SampleState(NamedTuple):
    """The state of the algorithm, and working memory for one traversal, which visits fewer than S histories.

    With outcome sampling `children` contains the sampled sequences and `value` their sigma.
    """

    regret: np.ndarray  # (S,)
    total: np.ndarray  # (S,) weighted sum of strategies
    node: np.ndarray  # (S,) uint32: visited histories: decisions of the player and ends
    children: np.ndarray  # (S,) uint32: the index in `node` of their first child
    value: np.ndarray  # (S,) their values
    weight: np.ndarray  # (S,) inverse probability of third players' actions


def allocate_state(regret: np.ndarray, total: np.ndarray) -> SampleState:
    """Returns a state with working memory for a traversal."""
    node, children = np.zeros((2, len(regret)), np.uint32)
    value, weight = np.zeros((2, len(regret)))
    return SampleState(regret, total, node, children, value, weight)


@compile_inline
def traversal_uniform(uniforms, key, place):
    """Returns the uniform number at a position of the traversal `key`, or the one that is given for it."""
    return uniforms[place] if place < uniforms.size else keyed_uniform(key, place)


@compile_inline
def match_regrets(regret, first, count):
    """Returns numbers (scale, least) with sigma = scale * [regret]+ + least in an information set."""
    total = 0.0
    for sequence in range(first, first + count):
        total += max(regret[sequence], 0.0)
    return (1 / total, 0.0) if total > 0 else (0.0, 1 / np.float64(count))


@compile_inline
def sample_action(regret, first, count, scale, least, noise):
    """Samples a sequence with probabilities scale * [regret]+ + least; returns it and its probability."""
    since, action, probability = 0.0, first, 1.0
    for sequence in range(first, first + count):
        share = scale * max(regret[sequence], 0.0) + least
        if since <= noise and share > 0:
            action, probability = sequence, share
        since += share
    return action, probability


@compile_inline
def sample_to_decision(paths, state, player, history, weight, key, uniforms, place):
    """Samples chance and the other players from a history until the player moves or the game ends.

    Returns the history, `weight` divided by the probabilities of the actions of third players, and the position of the
    next random number.
    """
    next_player = (player + 1) % paths.payoff.shape[1]
    mover = paths.history[history, MOVER]
    while mover != player and mover != END:
        noise = traversal_uniform(uniforms, key, place)
        place += 1
        if mover == CHANCE:
            history = sample_chance(paths, history, noise)
        else:
            first, count = paths.history[history, FIRST], paths.history[history, COUNT]
            scale, least = match_regrets(state.regret, first, count)
            sequence, probability = sample_action(state.regret, first, count, scale, least, noise)
            if mover == next_player:
                for each in range(first, first + count):
                    state.total[each] += weight * (scale * max(state.regret[each], 0.0) + least)
            else:
                weight /= probability
            history = paths.history[history, CHILD] + (sequence - first)
        mover = paths.history[history, MOVER]
    return history, weight, place


@compile_inline
def traverse_external(paths, state, player, key, uniforms):
    """Runs a traversal with external sampling, down and back up; returns the number of histories visited."""
    state.node[0], state.weight[0] = 0, 1.0
    place, index, room = 0, 0, 1
    while index < room:
        history, weight, place = sample_to_decision(
            paths, state, player, state.node[index], state.weight[index], key, uniforms, place
        )
        state.node[index], state.children[index] = history, room
        if paths.history[history, MOVER] == END:
            state.value[index] = paths.payoff[paths.history[history, FIRST], player]
        else:
            for step in range(paths.history[history, COUNT]):
                state.node[room], state.weight[room] = paths.history[history, CHILD] + step, weight
                room += 1
        index += 1
    for index in range(room - 1, -1, -1):
        history = state.node[index]
        if paths.history[history, MOVER] == player:
            state.value[index] = add_regrets(
                state, paths.history[history, FIRST], paths.history[history, COUNT], state.children[index]
            )
    return place + room


@compile_inline
def add_regrets(state, first, count, children):
    """Adds the regrets of a history whose children have the values from index `children` on; returns its value."""
    scale, least = match_regrets(state.regret, first, count)
    mean = 0.0
    for step in range(count):
        mean += (scale * max(state.regret[first + step], 0.0) + least) * state.value[children + step]
    for step in range(count):
        state.regret[first + step] += state.value[children + step] - mean
    return mean


@compile_inline
def traverse_outcome(paths, state, player, exploration, key, uniforms):
    """Runs a traversal with outcome sampling; returns the number of histories visited."""
    history, weight, place = sample_to_decision(paths, state, player, ROOT, 1.0, key, uniforms, 0)
    steps, rarity = 0, 1.0  # inverse probability of own actions
    while paths.history[history, MOVER] != END:
        first, count = paths.history[history, FIRST], paths.history[history, COUNT]
        scale, least = match_regrets(state.regret, first, count)
        floor = exploration / np.float64(count) + (1 - exploration) * least
        noise = traversal_uniform(uniforms, key, place)
        sequence, probability = sample_action(state.regret, first, count, (1 - exploration) * scale, floor, noise)
        state.node[steps], state.children[steps] = history, sequence
        state.value[steps] = scale * max(state.regret[sequence], 0.0) + least
        steps, rarity = steps + 1, rarity / probability
        child = paths.history[history, CHILD] + (sequence - first)
        history, weight, place = sample_to_decision(
            paths, state, player, child, weight / probability, key, uniforms, place + 1
        )
    value = paths.payoff[paths.history[history, FIRST], player] * rarity
    for step in range(steps - 1, -1, -1):
        history, mean = state.node[step], state.value[step] * value
        first = paths.history[history, FIRST]
        for sequence in range(first, first + paths.history[history, COUNT]):
            state.regret[sequence] -= mean
        state.regret[state.children[step]] += value
        value = mean
    return place + 1


@compile_loop
def traverse(paths, state, exploration, seed, after, count, uniforms):
    """Runs traversals `after` + 1 to `after` + `count`, each player learning in turn.

    Returns the number of histories visited. An exploration of 0 selects external sampling. `uniforms` (n,) replace the
    first random numbers of each traversal.
    """
    touched, players = 0, paths.payoff.shape[1]
    origin = mix_word(np.uint64(seed))
    for number in range(after, after + count):
        key = mix_word(origin + WORD_GOLDEN * np.uint64(number + 1))
        if exploration > 0:
            touched += traverse_outcome(paths, state, number % players, exploration, key, uniforms)
        else:
            touched += traverse_external(paths, state, number % players, key, uniforms)
    return touched
