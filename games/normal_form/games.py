"""Games in normal form: all players choose once, simultaneously. By name, from a file, or random.

A preference game is a matrix P of how often the row is preferred to the column, with P + P' = 1. Both seats earn P
minus one half, and solvers that regularise start from its `reference`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor

from games.normal_form.action_names import names_of
from games.normal_form.catalogue import PREFERENCES, load_classic
from games.normal_form.payoff_files import above_half, load_payoffs, load_preference, read_action_names
from games.normal_form.random_families import draw_game
from games.preference.judges.population import population, population_preference
from marl_engine.configuration import outside
from marl_engine.errors import Refused
from marl_engine.extensive_form.sequence_form import (
    SequenceForm,
    TerminalHistories,
    build_sequence_form,
    uniform_strategy,
)
from marl_engine.numerics.checks import check_distributions, check_fields
from marl_engine.teams import are_opposed
from marl_engine.types import Turn


def in_sequence_form(payoffs: np.ndarray) -> SequenceForm:
    """Returns the sequence form of payoffs (P, A, B, …): one information set for each player."""
    players, counts = payoffs.shape[0], payoffs.shape[1:]
    first = np.cumsum([players, *counts])
    last = np.stack([each.ravel() for each in np.indices(counts)], axis=1) + first[:-1]
    ends = TerminalHistories(last, payoffs.reshape(players, -1).T, np.ones(len(last)))
    return build_sequence_form(range(players + 1), range(players), first.tolist(), ends)


class OneShotGame:
    """The `Game` interface of a game in normal form. An observation (B, P, 1) int32 is the number of the seat."""

    players: int
    actions: int
    observation_shape: tuple[int, ...] = (1,)
    symmetric: bool
    competitive: bool
    device: str
    action_names: Sequence[Sequence[str]]  # of each player

    def _make(self, earns: np.ndarray, action_names: Sequence[Sequence[str]] | None = None) -> None:
        """Sets the payoffs (P, A, B, …). Players without action names get numbers."""
        names = action_names or [()] * len(earns)
        numbers = [list(map(str, range(count))) for count in earns.shape[1:]]
        self.action_names = [
            given_names or default_names for given_names, default_names in zip(names, numbers, strict=True)
        ]
        self.earns = torch.from_numpy(earns)
        self.players, self.actions = earns.shape[0], max(earns.shape[1:])
        self.symmetric = self.players == 2 and np.array_equal(earns[0], earns[1].T)
        self.competitive = are_opposed(earns.reshape(self.players, -1).T)
        self.form = in_sequence_form(earns)
        self.legal = np.arange(self.actions) < np.array(earns.shape[1:])[:, None]
        self.features = torch.eye(self.players)
        self.start = uniform_strategy(self.form)
        self.copies = 1

    def _start_from(self, reference: Sequence[float] | None) -> None:
        """Sets the strategy (A,) from which solvers start in both seats.

        Raises ValueError unless it is a distribution.
        """
        if reference is not None:
            start = np.array(reference, float)
            if start.shape != (self.actions,) or not (start > 0).all():
                raise ValueError(
                    f"game.reference must be {self.actions} positive numbers that sum to 1, not {start.tolist()}; "
                    "or null, for all actions alike"
                )
            check_distributions("game.reference", start)
            self.start = np.concatenate([[1.0, 1.0], start, start])

    def information_sets(self) -> list[tuple[str, list[str]]]:
        """Returns the single information set of each player, with an empty name, and its action names."""
        return [("", list(names)) for names in self.action_names]

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds. The game has no chance moves."""
        return self.restore({"copies": torch.tensor(len(seeds))})

    def state(self) -> dict[str, Tensor]:
        """Returns the number of copies."""
        return {"copies": torch.tensor(self.copies)}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.copies = int(state["copies"])
        return self._turn(torch.zeros(self.copies, self.players), done=False)

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, P) int64, which ends every game. Raises ValueError for illegal actions."""
        chosen = actions.cpu()
        counts = torch.tensor(self.earns.shape[1:])
        if ((chosen < 0) | (chosen >= counts)).any():
            raise ValueError(f"actions must be below {counts.tolist()}, seat by seat")
        payoff = torch.stack([each[tuple(chosen.T)] for each in self.earns], dim=-1)
        return self._turn(payoff.float(), done=True)

    def _turn(self, reward: Tensor, done: bool) -> Turn:
        return Turn(
            observation=torch.arange(self.players, dtype=torch.int32).expand(self.copies, -1)[..., None].clone(),
            legal=torch.from_numpy(self.legal).expand(self.copies, -1, -1).clone(),
            acting=torch.ones(self.copies, self.players, dtype=torch.bool),
            reward=reward,
            shaping=torch.zeros(self.copies, self.players),
            done=torch.full((self.copies,), done),
            truncated=torch.zeros(self.copies, dtype=torch.bool),
        ).to(self.device)


SENTENCES = 4096  # largest number of sentences of `SentenceMatrix`


@dataclass
class MatrixGame(OneShotGame):
    """A classic game or a small OpenSpiel game by name, or payoffs from files.

    Raises ValueError if there is no such game.
    """

    name: str = outside("rock_paper_scissors", folders=False)
    payoffs: str | None = outside(None)  # a file
    column_payoffs: str | None = outside(None)  # a file with those of the column player; null: the game is zero-sum
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.column_payoffs is not None and self.payoffs is None:
            raise Refused("game.column_payoffs are those of one player; give game.payoffs, those of the other, too")
        earns = load_classic(self.name) if self.payoffs is None else load_payoffs(self.payoffs, self.column_payoffs)
        self._make(earns, names_of(self.name, len(earns)) if self.payoffs is None else read_action_names(self.payoffs))


@dataclass
class RandomGame(OneShotGame):
    """A game from a random family; see `random_families`.

    Raises ValueError for parameters that the family does not allow.
    """

    family: str = "zero_sum"
    players: int = 2
    actions: int = 10  # of each player
    draw: int = 0  # which of them: the same number, the same game
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._make(draw_game(self.family, self.players, self.actions, self.draw))


class PreferencePayoffs(OneShotGame):
    """A preference matrix as a preference game: one prompt, and actions as answers."""

    train_prompts = 1

    def prefers(self, numbers: Tensor, firsts: Sequence[int], seconds: Sequence[int]) -> np.ndarray:
        """Returns how often the first of two answers is preferred, (N,)."""
        return 0.5 + self.earns[0][list(firsts), list(seconds)].numpy()


@dataclass
class PreferenceMatrix(PreferencePayoffs):
    """A preference matrix by name.

    Raises ValueError for an unknown name, and for a reference that is not a distribution.
    """

    name: str = "cycle"
    reference: Sequence[float] | None = None  # null: all alike
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.name not in PREFERENCES:
            raise Refused(
                f"there is no preference game {self.name!r}; choose from {', '.join(PREFERENCES)}; or use "
                "game=preference/file for a matrix of your own"
            )
        self._make(above_half(np.array(PREFERENCES[self.name])), names_of(self.name, players=2))
        self._start_from(self.reference)


@dataclass
class PreferenceFile(PreferencePayoffs):
    """A preference matrix from a file.

    Raises ValueError for a matrix that is not a preference matrix, and for a wrong reference.
    """

    payoffs: str | None = outside(None)  # the file
    reference: Sequence[float] | None = None  # null: all alike
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.payoffs is None:
            raise Refused("game.payoffs must be a .csv or .npy file with a preference matrix")
        names = read_action_names(self.payoffs)  # of rows, or else of columns
        self._make(above_half(load_preference(self.payoffs)), [max(names, key=len)] * 2 if names else None)
        self._start_from(self.reference)


@dataclass
class RaterMatrix(PreferencePayoffs):
    """The preferences of a population of raters; see `judges.population`.

    Raises ValueError for invalid parameters.
    """

    raters: int = 3  # and answers, where scores are drawn
    answers: int = 4
    scores: Sequence[Sequence[float]] | None = None  # (raters, answers); null: drawn from N(0, 1)
    shares: Sequence[float] | None = None  # of raters; null: all alike
    temperature: float = 1.0  # of their choices; 0: the higher score for certain
    draw: int = 0  # which population: the same number, the same scores
    reference: Sequence[float] | None = None  # null: all alike
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields("game", self, "temperature", least=0)
        scores, shares = population(self.raters, self.answers, self.draw, self.scores, self.shares)
        self.raters, self.answers = scores.shape
        self._make(above_half(population_preference(scores, shares, self.temperature)))
        self._start_from(self.reference)


@dataclass
class SentenceMatrix(PreferencePayoffs):
    """All V^L sentences of L out of V words. The last word determines the class; classes beat each other in a cycle.

    P = 1 / (1 + exp(-(cycle * c + skill - skill'))), with c = 1 if the class follows that of the other sentence in the
    cycle, c = -1 if it precedes it, and skills ~ N(0, spread^2). The reference generates sentences word by word; its
    logits are ~ N(0, shape^2) after every prefix. Raises ValueError for numbers out of range.
    """

    vocabulary: int = 3  # V
    length: int = 3  # L
    cycle: float = 1.5
    spread: float = 0.3
    shape: float = 0.3
    draw: int = 0  # which of them: the same number, the same game
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields("game", self, "vocabulary", least=2, whole=True)
        check_fields("game", self, "length", least=1, whole=True)
        check_fields("game", self, "draw", least=0, whole=True)
        check_fields("game", self, "cycle")
        check_fields("game", self, "spread", "shape", least=0)
        if self.length * log(self.vocabulary) > log(SENTENCES):
            raise ValueError(f"game.vocabulary ** game.length must be {SENTENCES:,} sentences or fewer")
        random, sentences = np.random.default_rng(self.draw), self.vocabulary**self.length
        kind, skill = np.arange(sentences) % self.vocabulary, self.spread * random.standard_normal(sentences)
        step = (kind[:, None] - kind) % self.vocabulary
        circle = (step == 1).astype(float) - (step == self.vocabulary - 1)
        lead = self.cycle * circle + skill[:, None] - skill
        self._make(above_half(1 / (1 + np.exp(-lead))))
        chances = np.ones(1)
        for place in range(self.length):
            odds = np.exp(self.shape * random.standard_normal((self.vocabulary**place, self.vocabulary)))
            chances = (chances[:, None] * odds / odds.sum(-1, keepdims=True)).ravel()
        self._start_from((chances / chances.sum()).tolist())
