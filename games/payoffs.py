"""Where the payoffs of games in normal form come from: classics by name, small games of OpenSpiel, files."""

from difflib import get_close_matches
from pathlib import Path

import numpy as np

from games import gambit
from games.compiled import compiled, knows
from games.reduced import reduced

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
FILES = (".npy", ".csv", ".nfg", ".efg")
GAMBIT = (".nfg", ".efg")  # which say how many players there are


def named(name: str) -> np.ndarray:
    """The payoffs (P, actions of each of the P seats) of a classic, or of a game of OpenSpiel in which who plays has
    decided beforehand. Raises ValueError.
    """
    if name in ZERO_SUM:
        row = np.array(ZERO_SUM[name], float)
        return np.stack([row, -row])
    if name in BOTH:
        return np.array(BOTH[name], float)
    if knows(name):
        try:
            return reduced(compiled(name)[1])
        except ValueError as error:
            raise ValueError(f"game.name={name} cannot be played at once: {error}") from error
    names = [*ZERO_SUM, *BOTH]
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    others = ", ".join(near + [other for other in names if other not in near])
    raise ValueError(
        f"there is no matrix game {name!r}; choose from {others}; or a small game of OpenSpiel, such as "
        f"'blotto(coins=5)'; or give game.payoffs, a {' or '.join(FILES)} file"
    )


def loaded(path: str, preference: bool) -> np.ndarray:
    """Payoffs (P, A, B, …) from a .npy, .nfg or .efg file, or of the row player of a zero-sum game from a .csv.

    A preference matrix (A, A) stands in a file as it is. Raises ValueError.
    """
    try:
        found = read(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"game.payoffs: {path} cannot be read as a {Path(path).suffix} file: {error}") from error
    if not np.isfinite(found).all():
        raise ValueError(f"game.payoffs: {path} has payoffs that are no finite numbers")
    if found.ndim == 2 and not preference and not path.endswith(GAMBIT):
        found = np.stack([found, -found])
    if not preference and (found.ndim < 2 or found.shape[0] != found.ndim - 1 or found.size == 0):
        raise ValueError(
            f"game.payoffs: {path} has shape {found.shape}; it must be (P, actions of each of the P seats)"
        )
    return found


def read(path: str) -> np.ndarray:
    """The numbers in a file. Raises ValueError and OSError."""
    if path.endswith(".nfg"):
        return gambit.parsed(Path(path).read_text(encoding="utf-8-sig"))
    if path.endswith(".efg"):
        return reduced(compiled(path)[1])
    if path.endswith(".npy"):
        return np.asarray(np.load(path), float)
    if path.endswith(".csv"):
        return np.loadtxt(path, delimiter=",", ndmin=2)
    raise ValueError(f"its name must end with one of {', '.join(FILES)}")


def above_half(preference: np.ndarray) -> np.ndarray:
    """The payoffs (2, A, A) of a preference matrix (A, A). Raises ValueError where it is none."""
    square = preference.ndim == 2 and preference.shape[0] == preference.shape[1]
    if not square or np.abs(preference + preference.T - 1).max() > 1e-9 or preference.min() < 0:
        raise ValueError("a preference matrix is square, from 0 to 1, and P[a, b] + P[b, a] = 1")
    return np.stack([preference - 0.5, preference.T - 0.5])
