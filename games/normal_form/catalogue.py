"""Classic games in normal form, by name."""

from difflib import get_close_matches

import numpy as np

from games.normal_form.payoff_files import READERS
from games.openspiel.load import compile_game, has_game
from marl_engine.extensive_form.reduced_normal_form import reduce_to_normal_form

ZERO_SUM = {  # what the row player earns
    "matching_pennies": [[1, -1], [-1, 1]],
    "rock_paper_scissors": [[0, -1, 1], [1, 0, -1], [-1, 1, 0]],
    "biased_rock_paper_scissors": [[0, -3, 3], [3, 0, -1], [-3, 1, 0]],
}
BOTH = {  # what the row player and the column player earn
    "prisoners_dilemma": ([[-1, -3], [0, -2]], [[-1, 0], [-3, -2]]),
    "chicken": ([[0, 7], [2, 6]], [[0, 2], [7, 6]]),
    "stag_hunt": ([[4, 1], [3, 3]], [[4, 3], [1, 3]]),
    "battle_of_the_sexes": ([[3, 0], [0, 2]], [[2, 0], [0, 3]]),
    "shapley": ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "climbing": ([[11, -30, 0], [-30, 7, 6], [0, 0, 5]],) * 2,
    "penalty": ([[10, 0, -10], [0, 2, 0], [-10, 0, 10]],) * 2,
}
PREFERENCES = {  # how often the row is preferred to the column
    "cycle": [[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]],
    "dice": [[1 / 2, 5 / 9, 4 / 9], [4 / 9, 1 / 2, 5 / 9], [5 / 9, 4 / 9, 1 / 2]],
    "rock_paper_scissors": [[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]],
}


def load_classic(name: str) -> np.ndarray:
    """Returns the payoffs (P, A, B, …) of a classic game, or of a small OpenSpiel game as its normal form.

    Raises ValueError.
    """
    if name in ZERO_SUM:
        row = np.array(ZERO_SUM[name], float)
        return np.stack([row, -row])
    if name in BOTH:
        return np.array(BOTH[name], float)
    if has_game(name):
        try:
            return reduce_to_normal_form(compile_game(name)[1])
        except ValueError as error:
            raise ValueError(f"game.name={name} cannot be played at once: {error}") from error
    names = [*ZERO_SUM, *BOTH]
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    others = ", ".join(near + [other for other in names if other not in near])
    raise ValueError(
        f"there is no matrix game {name!r}; choose from {others}; or a small game of OpenSpiel, such as "
        f"'blotto(coins=5)'; or give game.payoffs, a {' or '.join(READERS)} file"
    )
