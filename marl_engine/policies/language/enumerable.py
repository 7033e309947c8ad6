"""A language model whose answers can be enumerated: V tokens, answers of L tokens, a table of logits for all prefixes.

With V = L = 3 there are 27 answers and 13 prefixes. The model learns token by token, like a large one, but also gives
its exact distribution over all V^L answers, so that results can be checked against tables.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marl_engine.capabilities import MatrixPreferenceGame
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.policies.language.generation import LanguagePolicy
from marl_engine.policies.tabular import TINY
from marl_engine.types import Memory, Policy


class EnumerableLM(LanguagePolicy):
    """Logits (R, V) of the next token after each of R = 1 + V + … + V^(L - 1) prefixes.

    Answer number sum_n token_n * V^(L - 1 - n) is an action of the game.
    """

    ends = ()
    opening: Tensor
    answer_tokens: Tensor
    place: Tensor

    def __init__(self, logits: Tensor, vocabulary: int, length: int):
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        self.logits = nn.Parameter(logits)
        powers = vocabulary ** torch.arange(length)
        self.register_buffer("opening", powers.cumsum(0) - powers, persistent=False)  # (L,) the first prefix of a place
        answers = torch.arange(vocabulary**length)[:, None] // powers.flip(0) % vocabulary
        self.register_buffer("answer_tokens", answers, persistent=False)  # (V^L, L) the tokens of every answer
        self.register_buffer("place", powers.flip(0), persistent=False)

    def prefixes(self, tokens: Tensor) -> Tensor:
        """Returns the number of the prefix before each token, (N, L), for tokens (N, L)."""
        number, before = torch.zeros_like(tokens[:, 0]), []
        for place in range(tokens.shape[1]):
            before.append(self.opening[place] + number)
            number = number * self.vocabulary + tokens[:, place]
        return torch.stack(before, dim=-1)

    def start_decoding(self, rows: Tensor) -> "EnumerableDecodingState":
        return EnumerableDecodingState(self.logits.detach().log_softmax(-1), len(rows))

    def log_probs(self, rows: Tensor, tokens: Tensor) -> Tensor:
        log_probs = self.logits.log_softmax(-1)[self.prefixes(tokens)]
        return log_probs.gather(-1, tokens[..., None])[..., 0]

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        return (tokens * self.place).sum(-1).tolist()

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        log_probs = self.log_probs(rows, self.answer_tokens).sum(-1)
        return Categorical(log_probs.expand(len(rows), -1).contiguous(), legal), memory


class EnumerableDecodingState:
    """Answers that are being generated, as numbers of prefixes."""

    def __init__(self, table: Tensor, copies: int):
        self.table, self.number = table, torch.zeros(copies, dtype=torch.int64, device=table.device)
        self.logits = table[self.number]

    def append(self, token: Tensor) -> None:
        self.number = self.number * self.table.shape[1] + token + 1  # the prefixes of a place follow those before it
        self.logits = self.table[self.number]


@dataclass
class EnumerableLMSpec:
    """Makes a profile with one such model in all seats of a one-shot preference game.

    The model begins as the game's `start`. Raises ValueError if the game does not have V^L actions.
    """

    vocabulary: int = 3  # V
    length: int = 3  # L

    def __post_init__(self) -> None:
        check_fields("policy", self, "vocabulary", least=2, whole=True)
        check_fields("policy", self, "length", least=1, whole=True)

    def profile(self, game: MatrixPreferenceGame) -> list[Policy]:
        """Returns the same model in every seat."""
        answers = self.vocabulary**self.length
        if game.actions != answers:
            raise ValueError(
                f"policy.vocabulary ** policy.length = {self.vocabulary}^{self.length} must be the {game.actions} "
                f"answers of {type(game).__name__}, not {answers}"
            )
        chances = game.start[game.players : game.players + answers]
        model = EnumerableLM(next_tokens(chances, self.vocabulary, self.length), self.vocabulary, self.length)
        return [model] * game.players


def next_tokens(chances: np.ndarray, vocabulary: int, length: int) -> Tensor:
    """Returns log-probabilities (R, V) of the next token after each prefix, for a distribution (V^L,)."""
    tables = []
    for place in range(length):
        mass = chances.reshape(vocabulary**place, vocabulary, -1).sum(-1)
        tables.append(np.log(np.maximum(mass, TINY)) - np.log(np.maximum(mass.sum(-1, keepdims=True), TINY)))
    return torch.from_numpy(np.concatenate(tables)).float()
