"""Collects the data of an iteration of preference learning: samples prompts and answers, has them compared, forms
pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.policies.language.generation import (
    Completions,
    LanguagePolicy,
    merge_groups,
    split_groups,
)
from marl_engine.responders.preference.answers import (
    Questions,
    answer_in_shards,
    encode_prompts,
    is_mixture_with,
)
from marl_engine.responders.preference.referee import (
    Referee,
    all_pairs,
    best_and_worst,
    cross_pairs,
    margin_pairs,
    preferences_of,
    wins_among,
)
from marl_engine.types import Opponents, Runner

PAIRS = ("product", "best_worst", "tournament", "across", "margin")
POOLED = ("across", "margin")  # the opponent's answers are learned from, too


class Verdicts(NamedTuple):
    """Results of comparisons for B groups of K answers, and the pairs of answers to learn from."""

    wins: Tensor  # (B, K)
    pairs: Tensor  # (B, R, 2)
    preferred: Tensor  # (B, R)


class PreferenceBatch(NamedTuple):
    """The data of one iteration."""

    numbers: Tensor  # (B,) numbers of the prompts
    completions: Completions  # the learner's, B * K
    answers: Completions  # those that are learned from: the learner's, with pooled pairs also the opponent's
    verdicts: Verdicts
    within: bool  # wins are against other answers of the group, not against an opponent

    @property
    def prompt_numbers(self) -> Tensor:
        """The number of the prompt of each of the learner's completions, (B * K,)."""
        return self.numbers.repeat_interleave(len(self.completions.texts) // len(self.numbers))


def load_batch(fields: Sequence[Any], device: str) -> PreferenceBatch:
    """Returns the batch with these fields, which in a checkpoint are lists."""
    numbers, completions, answers, verdicts, within = fields
    own, learned_from = (Completions(*each).to(device) for each in (completions, answers))
    return PreferenceBatch(numbers, own, learned_from, Verdicts(*verdicts), within)


@dataclass
class PreferenceCollector:
    """Samples B prompts in an iteration, and K answers of the learner to each.

    If there is an opponent, also M of its answers. Of several opponents, each prompt draws one.
    """

    referee: Referee  # its generator also samples prompts and seeds
    device: str
    prompts: int  # B
    answers: int  # K
    opponents: int  # M
    pairs: str
    least_margin: float
    shard: int | None  # prompts in a job of the runner; None: all
    runner: Runner

    def collect(self, learner: LanguagePolicy, opponents: Opponents | None) -> PreferenceBatch:
        """Returns answers of the learner, compared with each other, or with those of an opponent."""
        numbers = self._draw_prompts()
        questions = self._draw_questions(learner, opponents, numbers)
        own, opposing = answer_in_shards(questions, self.shard, self.runner)
        own = own._replace(rows=encode_prompts(learner, questions.numbers, self.answers))  # shards have other widths
        texts = split_groups(own.texts, self.prompts)
        if opposing is None:
            return PreferenceBatch(numbers, own, own, self._compare_within_groups(numbers, texts), True)
        opposing_texts = split_groups(opposing.texts, self.prompts)
        if self.pairs == "margin":
            verdicts = self._compare_within_groups(
                numbers, [[*one, *other] for one, other in zip(texts, opposing_texts, strict=True)]
            )
        else:
            verdicts = self._compare_with_opponent(self.referee.compare_with(numbers, texts, opposing_texts))
        both = own
        if self.pairs in POOLED:
            rows = encode_prompts(learner, questions.numbers, self.opponents)
            both = merge_groups(own, opposing._replace(rows=rows), self.prompts)
        return PreferenceBatch(numbers, own, both, verdicts, False)

    def _compare_with_opponent(self, table: Tensor) -> Verdicts:
        """Forms pairs from wins (B, K, M) against the opponent's answers.

        The preference between two answers of the learner is estimated as 1/2 plus the difference of their win rates.
        """
        wins = table.mean(-1)
        if self.pairs == "across":
            return Verdicts(torch.cat([wins, 1 - table.mean(1)], dim=1), cross_pairs(*table.shape), table.flatten(1))
        pairs = best_and_worst(wins) if self.pairs == "best_worst" else all_pairs(*wins.shape)
        one, other = pairs.unbind(-1)
        return Verdicts(wins, pairs, 0.5 + wins.gather(1, one) - wins.gather(1, other))

    def _compare_within_groups(self, numbers: Tensor, texts: list[list[Any]]) -> Verdicts:
        """Compares the answers to each prompt with each other, and forms pairs."""
        if self.pairs == "tournament":
            pairs, preferred = self.referee.run_tournament(numbers, texts)
            return Verdicts(torch.full((len(texts), len(texts[0])), 0.5), pairs, preferred)
        table = self.referee.compare_all(numbers, texts)
        wins, (groups, size) = wins_among(table), table.shape[:2]
        if self.pairs == "best_worst":
            pairs = best_and_worst(wins)
        else:
            pairs = margin_pairs(wins, self.least_margin) if self.pairs == "margin" else all_pairs(groups, size)
        preferred = torch.ones(pairs.shape[:2]) if self.pairs == "margin" else preferences_of(table, pairs)
        return Verdicts(wins, pairs, preferred)

    def _draw_prompts(self) -> Tensor:
        """Draws the numbers (B,) of prompts, without repetition if there are at least B."""
        count = self.referee.game.train_prompts
        if count < self.prompts:
            return torch.randint(count, (self.prompts,), generator=self.referee.generator)
        return torch.randperm(count, generator=self.referee.generator)[: self.prompts]

    def _draw_questions(self, learner: LanguagePolicy, opponents: Opponents | None, numbers: Tensor) -> Questions:
        """Draws seeds for the answers of both sides."""
        own, opposing = self.answers, 0 if opponents is None else self.opponents
        together = is_mixture_with(learner, opponents)
        if together:
            own_seeds, opposing_seeds = self._draw_seeds(own + opposing).split((own, opposing), dim=1)
        else:
            own_seeds, opposing_seeds = self._draw_seeds(own), self._draw_seeds(opposing)
        return Questions(learner, opponents, together, numbers.to(self.device), own_seeds, opposing_seeds)

    def _draw_seeds(self, count: int) -> Tensor:
        """Draws seeds for `count` answers to each prompt, (B, count)."""
        return torch.randint(2**62, (self.prompts, count), generator=self.referee.generator).to(self.device)
