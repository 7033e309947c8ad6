"""Answers: sequences of tokens, written one after the other by a policy that knows the next one.

N answers of at most L tokens out of V. A policy that answers opens a `Sheet` below each of N questions; whatever can
do that can be sampled, scored and mixed: a table of prefixes, a language model, a geometric mixture of two.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.numerics.categorical import Categorical
from marl_engine.numerics.rng import GOLDEN, draw_uniforms, mix_bits
from marl_engine.types import Distribution, Memory, Policy


class Completions(NamedTuple):
    """N answers, as their writer keeps them and as a judge reads them."""

    rows: Tensor  # (N, ...) the questions, as `encode` returns them
    tokens: Tensor  # (N, L) int64, 0 behind the end
    mask: Tensor  # (N, L) bool: what was written, the token that ends an answer too
    log_prob: Tensor  # (N, L) of the tokens, when written; 0 where there are none
    texts: list[Any]  # N texts, or numbers of actions

    def part(self, index: Tensor) -> "Completions":
        """Some of them."""
        said = [self.texts[place] for place in index.tolist()]
        return Completions(self.rows[index], self.tokens[index], self.mask[index], self.log_prob[index], said)

    def to(self, device: str) -> "Completions":
        """The same, on a device."""
        rows, tokens, mask, log_prob = (each.to(device) for each in self[:4])
        return Completions(rows, tokens, mask, log_prob, self.texts)


class DecodingState(Protocol):
    """N answers being written."""

    logits: Tensor  # (N, V) of the next token

    def append(self, token: Tensor) -> None:
        """Writes a token (N,) on each."""


class LanguagePolicy(Policy):
    """A policy whose action is a whole answer; its log-probabilities are those of tokens."""

    generates = True
    length: int  # L: the most tokens in an answer
    ends: Sequence[int]  # the tokens that end one; none: all have L
    vocabulary: int  # V

    def start_decoding(self, rows: Tensor) -> DecodingState:
        """Empty sheets below questions (N, ...); no gradient."""
        raise NotImplementedError

    def log_probs(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Of each token (N, L) after those before it, (N, L); with gradient."""
        raise NotImplementedError

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        """What answers (N, L) say to a judge."""
        raise NotImplementedError

    def complete(self, numbers: Tensor, seeds: Tensor) -> Completions:
        return generate(self, self.encode(numbers[:, None], torch.zeros_like(numbers)), seeds)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Distribution, Memory]:
        """Where the answers cannot be enumerated."""
        raise NotImplementedError(f"{type(self).__name__} has no distribution over all answers; see generate()")


@torch.no_grad()
def generate(writer: LanguagePolicy, rows: Tensor, seeds: Tensor, greedy: bool = False) -> Completions:
    """An answer to each of N questions; token n is drawn by the n-th number of the question's seed (N,) int64.

    With `greedy` it is the most probable one, whatever the seed.
    """
    sheet, going = writer.start_decoding(rows), torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    record, ends = [], torch.tensor(writer.ends, dtype=torch.int64, device=rows.device)
    for noise in draw_uniforms(seeds, 0, writer.length, 1)[..., 0]:
        choices = Categorical(sheet.logits)
        token, log_prob = choices.sample(noise)
        if greedy:
            token = choices.mode()
            log_prob = choices.log_prob(token)
        token = going * token
        record.append((token, going, going * log_prob))
        going = going & ~torch.isin(token, ends)
        if len(record) == writer.length or not going.any():
            break
        sheet.append(token)
    tokens, mask, log_prob = (torch.stack(each, dim=-1) for each in zip(*record, strict=True))
    return Completions(rows, tokens, mask, log_prob, writer.decode(tokens, mask))


def complete(policy: Policy, numbers: Tensor, seeds: Tensor) -> Completions:
    """What a policy answers to the prompts with numbers (N,)."""
    completions: Completions = policy.complete(numbers, seeds)
    return completions


class GeometricMixture(LanguagePolicy):
    """~ one^(1 - weight) * other^weight, token by token: each has a sheet of its own, so the cost is linear in L.

    The mixture of whole answers cannot be sampled; this one differs from it (Munos et al. 2023, section 7.2). Rows
    beyond `where` are written by the first policy alone, beside the others: many at once cost little more than few.
    """

    def __init__(self, one: LanguagePolicy, other: LanguagePolicy, weight: float, where: Tensor | None = None):
        super().__init__()
        if (one.vocabulary, one.ends) != (other.vocabulary, other.ends):
            raise ValueError("only policies with the same tokens can be mixed")
        self.one, self.other, self.weight, self.where = one, other, weight, where
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
    """The same answers on two sheets, one of each policy; the second has those at places `where` alone."""

    def __init__(self, one: DecodingState, other: DecodingState, weight: float, where: Tensor):
        self.one, self.other, self.weight, self.where = one, other, weight, where
        self.logits = self._mixed()

    def append(self, token: Tensor) -> None:
        self.one.append(token)
        self.other.append(token[self.where])
        self.logits = self._mixed()

    def _mixed(self) -> Tensor:
        """Up to a constant in each row, which is no matter."""
        if len(self.where) == len(self.one.logits):
            return torch.lerp(self.one.logits, self.other.logits, self.weight)
        parts = torch.lerp(self.one.logits[self.where], self.other.logits, self.weight)
        return self.one.logits.index_copy(0, self.where, parts)


class CompletionQueue(Policy):
    """Plays one of the last `size` answers to a prompt that were pushed, or where there are none, a fresh one."""

    def __init__(self, writer: LanguagePolicy, size: int):
        super().__init__()
        self.writer, self.size = writer, size
        self.known: dict[int, deque[Any]] = {}

    def push(self, numbers: Tensor, texts: Sequence[Any]) -> None:
        """Remembers answers to the prompts with numbers (N,)."""
        for number, each in zip(numbers.tolist(), texts, strict=True):
            self.known.setdefault(number, deque(maxlen=self.size)).append(each)

    def complete(self, numbers: Tensor, seeds: Tensor) -> Completions:
        """An answer to each of the prompts (N,), drawn by seeds (N,). What is recalled has no tokens."""
        texts: list[Any] = [None] * len(numbers)
        fresh = [place for place, number in enumerate(numbers.tolist()) if number not in self.known]
        if fresh:
            for place, each in zip(fresh, complete(self.writer, numbers[fresh], seeds[fresh]).texts, strict=True):
                texts[place] = each
        for place, (number, seed) in enumerate(zip(numbers.tolist(), mix_bits(seeds + GOLDEN).tolist(), strict=True)):
            if number in self.known:
                texts[place] = self.known[number][seed % len(self.known[number])]
        nothing = torch.zeros(len(numbers), 0, dtype=torch.int64)
        return Completions(nothing, nothing, nothing.bool(), nothing.float(), texts)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {str(number): list(texts) for number, texts in self.known.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.known = {int(number): deque(texts, maxlen=self.size) for number, texts in state.items()}


def split_groups(said: list[Any], groups: int) -> list[list[Any]]:
    """N things said, in groups of as many each."""
    size = len(said) // groups
    return [said[start : start + size] for start in range(0, len(said), size)]


def merge_groups(one: Completions, other: Completions, groups: int) -> Completions:
    """The answers of two writers with the same tokens, each group of one followed by that of the other."""
    longest = max(one.tokens.shape[1], other.tokens.shape[1])

    def joined(mine: Tensor, theirs: Tensor) -> Tensor:
        parts = [F.pad(each, (0, longest - each.shape[1])).unflatten(0, (groups, -1)) for each in (mine, theirs)]
        return torch.cat(parts, dim=1).flatten(0, 1)

    rows = torch.cat([each.rows.unflatten(0, (groups, -1)) for each in (one, other)], dim=1).flatten(0, 1)
    said = [
        each
        for mine, theirs in zip(split_groups(one.texts, groups), split_groups(other.texts, groups), strict=True)
        for each in [*mine, *theirs]
    ]
    tokens, mask, log_prob = (joined(*each) for each in zip(one[1:4], other[1:4], strict=True))
    return Completions(rows, tokens, mask, log_prob, said)
