"""How the payoffs of a cell are measured: computed, played turn by turn, or played along the game's tree.

A measure is a pure job of a `Cell`, so that every runner gives the same payoffs. Each cell has seeds of its own. Their
errors are therefore independent, as `uncertainty` takes them to be: with common seeds all cells would share the luck of
the deals, and intervals of values would be much too narrow.
"""

from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.extensive_form.paths import Paths, paths, play_games
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.numerics.rng import derive_seeds, mix_bits
from marl_engine.policies.strategy import extract_strategy
from marl_engine.populations.payoffs import Tally, exact_tally, tally_games
from marl_engine.populations.population import Cell, Measure
from marl_engine.rollout.rollout import score
from marl_engine.types import Game

CELLS = 2**41  # separates games of cells from those of learning and scoring


def choose_measure(game: Any, games: int | None, seed: int) -> Measure:
    """Returns the measure of a game's cells: exact if `games` is None, otherwise the fastest way to play."""
    able = capabilities_of(game)
    if games is None:
        return partial(compute_payoffs, game=game)
    if able.tree is None:
        return partial(play_turns_of_cell, game=game, seed=seed)
    return partial(play_tree_of_cell, paths=paths(able.tree.tree, able.tree.form), game=game, seed=seed)


def compute_payoffs(cell: Cell, game: ExtensiveGame) -> Tally:
    """Returns the expected payoffs of a cell."""
    plan = realization_plan(game.form, extract_strategy(game, cell.members))
    return exact_tally(expected_payoffs(game.form, plan))


def play_turns_of_cell(cell: Cell, game: Game, seed: int) -> Tally:
    """Plays the games of a cell, turn by turn."""
    return tally_games(score(deepcopy(game), cell.members, cell_seeds(cell, seed)).cpu().double().numpy())


def play_tree_of_cell(cell: Cell, paths: Paths, game: ExtensiveGame, seed: int) -> Tally:
    """Plays the games of a cell along the tree of the game."""
    seeds = cell_seeds(cell, seed).numpy().view(np.uint64)
    return tally_games(play_games(paths, extract_strategy(game, cell.members), seeds))


def cell_seeds(cell: Cell, seed: int) -> Tensor:
    """Returns the seeds (games,) of the games of a cell."""
    end = cell.begin + (cell.games or 0)
    return mix_bits(derive_seeds(seed + CELLS, end)[cell.begin :] + cell.stream)
