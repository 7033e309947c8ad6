"""Generation of answers token by token: sampling, scoring, mixtures and queues.

There are N answers of at most L tokens out of a vocabulary of V. A language policy provides a `DecodingState`, which
gives the logits of the next token; that is enough to sample it, score it, and mix it with another one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.distributions.choice import choose
from marl_engine.numerics.rng import GOLDEN, draw_uniforms, mix_bits
from marl_engine.types import Distribution, Memory, Policy


class Completions(NamedTuple):
    """N answers, as tokens for the policy and as texts for the judge."""

    rows: Tensor  # (N, ...) the prompts, as returned by `encode`
    tokens: Tensor  # (N, L) int64, 0 after the end
    mask: Tensor  # (N, L) bool: tokens of the answer, including the one that ends it
    log_prob: Tensor  # (N, L) of the tokens when sampled; 0 after the end
    texts: list[Any]  # (N,) texts, or numbers of actions

    def select(self, index: Tensor) -> "Completions":
        """Returns the answers at some places."""
        texts = [self.texts[place] for place in index.tolist()]
        return Completions(self.rows[index], self.tokens[index], self.mask[index], self.log_prob[index], texts)

    def to(self, device: str) -> "Completions":
        """Returns the answers on a device."""
        rows, tokens, mask, log_prob = (each.to(device) for each in self[:4])
        return Completions(rows, tokens, mask, log_prob, self.texts)


class DecodingState(Protocol):
    """N answers that are being generated."""

    logits: Tensor  # (N, V) of the next token

    def append(self, token: Tensor) -> None:
        """Appends a token (N,) to each answer."""


class LanguagePolicy(Policy):
    """A policy whose action is a whole answer, with log-probabilities for each token."""

    generates = True
    length: int  # L: the largest number of tokens in an answer
    ends: Sequence[int]  # tokens that end an answer; if empty, all answers have L tokens
    vocabulary: int  # V

    def start_decoding(self, rows: Tensor) -> DecodingState:
        """Returns the state of empty answers to prompts (N, ...). No gradient is recorded."""
        raise NotImplementedError

    def log_probs(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Returns the log-probability of each token (N, L) given those before it, (N, L), with gradient."""
        raise NotImplementedError

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        """Returns the answers (N, L) in the form that judges read."""
        raise NotImplementedError

    def complete(self, numbers: Tensor, seeds: Tensor) -> Completions:
        return generate(self, self.encode(numbers[:, None], torch.zeros_like(numbers)), seeds)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Distribution, Memory]:
        """Raises NotImplementedError; only policies with enumerable answers have a distribution over them."""
        raise NotImplementedError(f"{type(self).__name__} has no distribution over all answers; see generate()")


@torch.no_grad()
def generate(writer: LanguagePolicy, rows: Tensor, seeds: Tensor, greedy: bool = False) -> Completions:
    """Samples an answer to each of N prompts. The n-th random number of a prompt's seed (N,) int64 samples token n.

    With `greedy` the most probable token is taken each time.
    """
    state, unfinished = writer.start_decoding(rows), torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    record, ends = [], torch.tensor(writer.ends, dtype=torch.int64, device=rows.device)
    for noise in draw_uniforms(seeds, 0, writer.length, 1)[..., 0]:
        token, log_prob = choose(Categorical(state.logits), noise, greedy)
        token = unfinished * token
        record.append((token, unfinished, unfinished * log_prob))
        unfinished = unfinished & ~torch.isin(token, ends)
        if len(record) == writer.length or not unfinished.any():
            break
        state.append(token)
    tokens, mask, log_prob = (torch.stack(each, dim=-1) for each in zip(*record, strict=True))
    return Completions(rows, tokens, mask, log_prob, writer.decode(tokens, mask))


def complete(policy: Policy, numbers: Tensor, seeds: Tensor) -> Completions:
    """Returns a policy's answers to the prompts with numbers (N,)."""
    completions: Completions = policy.complete(numbers, seeds)
    return completions


class GeometricMixture(LanguagePolicy):
    """A policy ~ one^(1 - weight) * other^weight, mixed token by token.

    The mixture of whole answers cannot be sampled, and this one differs from it (Munos et al. 2023, section 7.2). Rows
    that are not in `where` are sampled from the first policy alone, so that both kinds of answers can share a batch.
    """

    def __init__(self, one: LanguagePolicy, other: LanguagePolicy, weight: float, where: Tensor | None = None):
        super().__init__()
        if (one.vocabulary, one.ends) != (other.vocabulary, other.ends):
            raise ValueError("only policies with the same tokens can be mixed")
        self.one, self.other, self.weight, self.where = one, other, weight, where
        self.components = (one, other, weight)
        self.length, self.ends, self.vocabulary = one.length, one.ends, one.vocabulary

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        return self.one.encode(observation, seat)

    def start_decoding(self, rows: Tensor) -> DecodingState:
        where = torch.arange(len(rows), device=rows.device) if self.where is None else self.where
        return MixedDecodingState(
            self.one.start_decoding(rows), self.other.start_decoding(rows[where]), self.weight, where
        )

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        return self.one.decode(tokens, mask)


class MixedDecodingState:
    """The same answers in the states of both policies; the second one has only those at places `where`."""

    def __init__(self, one: DecodingState, other: DecodingState, weight: float, where: Tensor):
        self.one, self.other, self.weight, self.where = one, other, weight, where
        self.logits = self._mix_logits()

    def append(self, token: Tensor) -> None:
        self.one.append(token)
        self.other.append(token[self.where])
        self.logits = self._mix_logits()

    def _mix_logits(self) -> Tensor:
        """Returns the mixed logits, up to a constant in each row."""
        if len(self.where) == len(self.one.logits):
            return torch.lerp(self.one.logits, self.other.logits, self.weight)
        parts = torch.lerp(self.one.logits[self.where], self.other.logits, self.weight)
        return self.one.logits.index_copy(0, self.where, parts)


class CompletionQueue(Policy):
    """A policy that returns one of the last `size` answers pushed for a prompt.

    If there are none for a prompt, the `writer` generates a new answer.
    """

    def __init__(self, writer: LanguagePolicy, size: int, answers: dict[str, list[Any]]):
        super().__init__()
        self.writer, self.size = writer, size
        self.answers = answers  # by number of the prompt, the oldest first

    def push(self, numbers: Tensor, texts: Sequence[Any]) -> None:
        """Adds answers to the prompts with numbers (N,)."""
        for number, each in zip(numbers.tolist(), texts, strict=True):
            answers = self.answers.setdefault(str(number), [])
            answers.append(each)
            del answers[: -self.size]

    def complete(self, numbers: Tensor, seeds: Tensor) -> Completions:
        """Returns an answer to each prompt (N,), chosen by seeds (N,). Answers from the queue have no tokens."""
        texts: list[Any] = [None] * len(numbers)
        missing = [place for place, number in enumerate(numbers.tolist()) if str(number) not in self.answers]
        if missing:
            for place, text in zip(missing, complete(self.writer, numbers[missing], seeds[missing]).texts, strict=True):
                texts[place] = text
        for place, (number, seed) in enumerate(zip(numbers.tolist(), mix_bits(seeds + GOLDEN).tolist(), strict=True)):
            if answers := self.answers.get(str(number)):
                texts[place] = answers[seed % len(answers)]
        nothing = torch.zeros(len(numbers), 0, dtype=torch.int64)
        return Completions(nothing, nothing, nothing.bool(), nothing.float(), texts)


def join_completions(parts: Sequence[Completions]) -> Completions:
    """Returns the answers of several policies one after another; rows and tokens are padded to the same length."""
    columns: list[Tensor] = []
    for each in zip(*(part[:4] for part in parts), strict=True):
        longest = max(column.shape[-1] for column in each)
        columns.append(torch.cat([F.pad(column, (0, longest - column.shape[-1])) for column in each]))
    rows, tokens, mask, log_prob = columns
    return Completions(rows, tokens, mask, log_prob, [text for part in parts for text in part.texts])


def split_groups(items: list[Any], groups: int) -> list[list[Any]]:
    """Splits N items into groups of equal size."""
    size = len(items) // groups
    return [items[start : start + size] for start in range(0, len(items), size)]


def merge_groups(one: Completions, other: Completions, groups: int) -> Completions:
    """Joins the answers of two policies with the same tokens: each group of one is followed by that of the other."""
    longest = max(one.tokens.shape[1], other.tokens.shape[1])

    def concatenate(first: Tensor, second: Tensor) -> Tensor:
        parts = [F.pad(each, (0, longest - each.shape[1])).unflatten(0, (groups, -1)) for each in (first, second)]
        return torch.cat(parts, dim=1).flatten(0, 1)

    rows = torch.cat([each.rows.unflatten(0, (groups, -1)) for each in (one, other)], dim=1).flatten(0, 1)
    texts = [
        each
        for first, second in zip(split_groups(one.texts, groups), split_groups(other.texts, groups), strict=True)
        for each in [*first, *second]
    ]
    tokens, mask, log_prob = (concatenate(*each) for each in zip(one[1:4], other[1:4], strict=True))
    return Completions(rows, tokens, mask, log_prob, texts)
