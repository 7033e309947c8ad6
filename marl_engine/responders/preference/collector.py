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
    GeometricMixture,
    LanguagePolicy,
    complete,
    join_completions,
    merge_groups,
    split_groups,
)
from marl_engine.policies.weights import policies_equal
from marl_engine.responders.preference.referee import (
    Referee,
    all_pairs,
    best_and_worst,
    cross_pairs,
    margin_pairs,
    preferences_of,
    wins_among,
)
from marl_engine.rollout.opponents import draw_members
from marl_engine.types import Opponents, Policy

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

    def collect(self, learner: LanguagePolicy, opponents: Opponents | None) -> PreferenceBatch:
        """Returns answers of the learner, compared with each other, or with those of an opponent."""
        numbers = self._draw_prompts()
        own, opposing = self._complete_both(learner, opponents, numbers)
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
        both = merge_groups(own, opposing, self.prompts) if self.pairs in POOLED else own
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

    def _complete_both(
        self, learner: LanguagePolicy, opponents: Opponents | None, numbers: Tensor
    ) -> tuple[Completions, Completions | None]:
        """Returns answers of the learner and of its opponents, if there are any.

        If the only opponent is a mixture of the learner and another policy, both are sampled in one batch.
        """
        own_count, opposing_count = self.answers, self.opponents
        if opponents is None:
            return self._complete(learner, numbers, own_count), None
        if len(opponents.members) > 1:
            return self._complete(learner, numbers, own_count), self._complete_drawn(opponents, numbers)
        opponent = opponents.members[0][0]
        if opponent.components is None or not policies_equal(opponent.components[0], learner):
            return self._complete(learner, numbers, own_count), self._complete(opponent, numbers, opposing_count)
        places = torch.arange(self.prompts * (own_count + opposing_count), device=self.device).view(self.prompts, -1)
        own_places, opposing_places = places[:, :own_count].flatten(), places[:, own_count:].flatten()
        _, other, weight = opponent.components
        mixture = GeometricMixture(learner, other, weight, opposing_places)
        both = self._complete(mixture, numbers, own_count + opposing_count)
        return both.select(own_places), both.select(opposing_places)

    def _complete_drawn(self, opponents: Opponents, numbers: Tensor) -> Completions:
        """Samples M answers to each prompt, (B * M,), all of the member that the prompt draws."""
        seeds = self._draw_seeds(self.opponents)
        member = draw_members(opponents, seeds[:: self.opponents], 0).repeat_interleave(self.opponents)
        asked = numbers.repeat_interleave(self.opponents).to(self.device)
        places = [(member == place).nonzero()[:, 0] for place in range(len(opponents.members))]
        parts = [
            complete(policies[0], asked[here], seeds[here])
            for policies, here in zip(opponents.members, places, strict=True)
            if len(here)
        ]
        return join_completions(parts).select(torch.cat(places).argsort())

    def _draw_seeds(self, count: int) -> Tensor:
        """Draws seeds for `count` answers to each prompt, (B * count,)."""
        return torch.randint(2**62, (self.prompts * count,), generator=self.referee.generator).to(self.device)

    def _complete(self, policy: Policy, numbers: Tensor, count: int) -> Completions:
        """Samples `count` answers to each prompt, (B * count,), those to the same prompt in a row."""
        return complete(policy, numbers.repeat_interleave(count).to(self.device), self._draw_seeds(count))
