"""The games of a line-up: sampled by stepping the game or along its tree, or summed over all paths of the tree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.extensive_form.paths import END, FIRST, MOVER, play_to_end
from marl_engine.numerics.jit import compile_loop
from marl_engine.numerics.threads import split_rows
from marl_engine.ratings.lineups import LineupTally, tally_lineup, weigh_lineup
from marl_engine.tournaments.entrants import Entrant
from marl_engine.tournaments.lineups.designs import williams_design
from marl_engine.tournaments.matches import play_seated
from marl_engine.tournaments.tree_matches import TreePlay, spread_reach
from marl_engine.types import Game


class LineupMatch(NamedTuple):
    """Games of P entrants: the argument of a pure job."""

    game: Game
    entrants: Sequence[Entrant]  # P of them
    seeds: Tensor  # (D,) int64 of the deals


def play_lineup(match: LineupMatch) -> LineupTally:
    """Returns the tally of a match, with one game on each deal in each seating of the Williams design."""
    payoffs = []
    for row in williams_design(len(match.entrants)):
        earned = play_seated(match.game, [match.entrants[each] for each in row], match.seeds)  # (D, P) of seats
        payoffs.append(earned[:, np.argsort(row)])
    return tally_lineup(np.stack(payoffs, axis=1))


def play_lineups_on_tree(play: TreePlay, lineups: np.ndarray, seeds: Tensor, keys: np.ndarray) -> list[LineupTally]:
    """Returns the tallies of line-ups (M, P) of entrants that play deals with seeds (D,) ^ `keys` (M,) int64 along the
    tree.
    """
    players, deals, keys = lineups.shape[1], seeds.numpy().view(np.uint64), keys.view(np.uint64)
    design = williams_design(players)
    payoffs = np.empty((len(lineups), len(deals), len(design), players))

    def work(_: int, begin: int, end: int) -> None:
        play_lineups_compiled(play.paths, play.strategies, lineups, design, deals, keys, begin, end, payoffs)

    split_rows(work, len(lineups), at_least=1)
    return [tally_lineup(each) for each in payoffs]


def weigh_lineups(play: TreePlay, lineups: np.ndarray) -> list[LineupTally]:
    """Returns the expected tallies of line-ups (M, P), over all paths of the tree and all seatings."""
    players = lineups.shape[1]
    design, ends = williams_design(players), np.flatnonzero(play.paths.history[:, MOVER] == END)
    reach = np.zeros((torch.get_num_threads(), len(play.paths.history)))
    chances = np.empty((len(lineups), len(design), len(ends)))

    def work(share: int, begin: int, end: int) -> None:
        weigh_lineups_compiled(play.paths, play.strategies, lineups, design, begin, end, reach[share], chances)

    split_rows(work, len(lineups), at_least=1)
    earned = play.paths.payoff[play.paths.history[ends, FIRST]]  # (ends, P) of seats
    payoffs = np.concatenate([earned[:, np.argsort(row)] for row in design])
    return [weigh_lineup(payoffs, each.ravel() / len(design)) for each in chances]


@compile_loop
def play_lineups_compiled(paths, strategies, lineups, design, seeds, keys, begin, end, payoffs):
    """Writes the payoffs (M, D, K, P) of the entrants of line-ups `begin` to `end`."""
    for lineup in range(begin, end):
        for deal in range(seeds.size):
            for seating in range(design.shape[0]):
                row = play_to_end(paths, strategies, lineups[lineup], design[seating], seeds[deal] ^ keys[lineup])
                for seat in range(design.shape[1]):
                    payoffs[lineup, deal, seating, design[seating, seat]] = paths.payoff[row, seat]


@compile_loop
def weigh_lineups_compiled(paths, strategies, lineups, design, begin, end, reach, chances):
    """Writes the probabilities (M, K, ends) of all ends for line-ups `begin` to `end`; `reach` (N,) is for working.

    Children come after their parents, so one pass computes the probabilities of all histories.
    """
    for lineup in range(begin, end):
        for seating in range(design.shape[0]):
            reach[0], ends = 1.0, 0
            for history in range(paths.history.shape[0]):
                spread_reach(paths, strategies, lineups[lineup], design[seating], history, reach)
                if paths.history[history, MOVER] == END:
                    chances[lineup, seating, ends] = reach[history]
                    ends += 1
