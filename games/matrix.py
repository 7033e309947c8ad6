"""Games in normal form: everybody chooses once, at the same time; the classics by name, and one's own from a file.

A preference game is a matrix of how often the row is preferred to the column, P + P' = 1: both seats earn what
lies above one half, and every solver that regularises starts from its `reference`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product

import numpy as np
import torch
from torch import Tensor

from marl_engine.sequences import Ending, Form, assembled
from marl_engine.types import Turn

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


def named(name: str) -> np.ndarray:
    """The payoffs (P, actions of seat 0, actions of seat 1) of a classic. Raises ValueError."""
    if name in ZERO_SUM:
        row = np.array(ZERO_SUM[name], float)
        return np.stack([row, -row])
    if name in BOTH:
        return np.array(BOTH[name], float)
    names = [*ZERO_SUM, *BOTH]
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    others = ", ".join(near + [other for other in names if other not in near])
    raise ValueError(
        f"there is no matrix game {name!r}; choose from {others}; or give game.payoffs, a .npy or .csv file"
    )


def loaded(path: str, preference: bool) -> np.ndarray:
    """Payoffs (P, A, B, …) from a .npy file, or of the row player of a zero-sum game from a .csv. Raises ValueError."""
    try:
        found = np.load(path) if path.endswith(".npy") else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise ValueError(f"game.payoffs: {path} cannot be read as a .npy or .csv file of numbers: {error}") from error
    found = np.asarray(found, float)
    if found.ndim == 2 and not preference:
        found = np.stack([found, -found])
    if not preference and found.shape[0] != found.ndim - 1:
        raise ValueError(
            f"game.payoffs: {path} has shape {found.shape}; it must be (P, actions of each of the P seats)"
        )
    return found


def above_half(preference: np.ndarray) -> np.ndarray:
    """The payoffs (2, A, A) of a preference matrix (A, A). Raises ValueError where it is none."""
    square = preference.ndim == 2 and preference.shape[0] == preference.shape[1]
    if not square or np.abs(preference + preference.T - 1).max() > 1e-9 or preference.min() < 0:
        raise ValueError("a preference matrix is square, from 0 to 1, and P[a, b] + P[b, a] = 1")
    return np.stack([preference - 0.5, preference.T - 0.5])


def in_sequence_form(payoffs: np.ndarray) -> Form:
    """Payoffs (P, A, B, …) with one information set for each player."""
    players, counts = payoffs.shape[0], payoffs.shape[1:]
    first = np.cumsum([players, *counts])
    endings = [
        Ending(
            tuple(int(start) + action for start, action in zip(first, joint, strict=False)),
            tuple(np.moveaxis(payoffs, 0, -1)[joint]),
            1.0,
        )
        for joint in product(*map(range, counts))
    ]
    return assembled(range(players + 1), range(players), first.tolist(), endings)


@dataclass
class Matrix:
    """A classic by name, or `payoffs` from a file. Raises ValueError for either that is not there.

    An observation (B, P, 1) int32 is the number of the seat.
    """

    name: str = "rock_paper_scissors"
    payoffs: str | None = None  # a file
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False, default=(1,))
    symmetric: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._make(named(self.name) if self.payoffs is None else loaded(self.payoffs, preference=False))

    def _make(self, earns: np.ndarray) -> None:
        self.earns = torch.from_numpy(earns)
        self.players, self.actions = earns.shape[0], max(earns.shape[1:])
        self.form = in_sequence_form(earns)
        self.legal = np.arange(self.actions) < np.array(earns.shape[1:])[:, None]
        self.features = torch.eye(self.players)
        self.copies = 1

    def reset(self, seeds: Tensor) -> Turn:
        """As many copies as there are seeds; there is no chance in them."""
        return self.restore({"copies": torch.tensor(len(seeds))})

    def state(self) -> dict[str, Tensor]:
        """How many copies there are."""
        return {"copies": torch.tensor(self.copies)}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Goes back to a saved state."""
        self.copies = int(state["copies"])
        return self._turn(torch.zeros(self.copies, self.players), done=False)

    def step(self, actions: Tensor) -> Turn:
        """Actions (B, P) int64; every game ends with them. Raises ValueError for an illegal one."""
        chosen = actions.cpu()
        counts = torch.tensor(self.earns.shape[1:])
        if ((chosen < 0) | (chosen >= counts)).any():
            raise ValueError(f"actions must be below {counts.tolist()}, seat by seat")
        earned = torch.stack([each[tuple(chosen.T)] for each in self.earns], dim=-1)
        return self._turn(earned.float(), done=True)

    def _turn(self, reward: Tensor, done: bool) -> Turn:
        return Turn(
            observation=torch.arange(self.players, dtype=torch.int32).expand(self.copies, -1)[..., None].clone(),
            legal=torch.from_numpy(self.legal).expand(self.copies, -1, -1).clone(),
            acting=torch.ones(self.copies, self.players, dtype=torch.bool),
            reward=reward,
            shaping=torch.zeros(self.copies, self.players),
            done=torch.full((self.copies,), done),
            truncated=torch.zeros(self.copies, dtype=torch.bool),
        )


@dataclass
class Preference(Matrix):
    """A preference matrix by name or from a file, and the policy that solvers start from and are drawn to.

    Raises ValueError for a matrix that is none, and a reference that is no distribution.
    """

    name: str = "cycle"
    reference: Sequence[float] | None = None  # null: all alike

    def __post_init__(self) -> None:
        if self.payoffs is None and self.name not in PREFERENCES:
            raise ValueError(f"there is no preference game {self.name!r}; choose from {', '.join(PREFERENCES)}")
        found = loaded(self.payoffs, preference=True) if self.payoffs else np.array(PREFERENCES[self.name])
        self._make(above_half(found))
        if self.reference is not None:
            start = np.array(self.reference, float)
            if len(start) != self.actions or start.min() <= 0 or abs(start.sum() - 1) > 1e-6:
                raise ValueError(
                    f"game.reference must be {self.actions} positive numbers that sum to 1, not {start.tolist()}"
                )
            self.start = np.concatenate([[1.0, 1.0], start, start])
