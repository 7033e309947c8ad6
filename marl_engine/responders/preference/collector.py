"""What policies that answer learn from: prompts are drawn, answers written and compared, and pairs of them chosen."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.policies.language.generation import (
    Completions,
    GeometricMixture,
    LanguagePolicy,
    complete,
    merge_groups,
    split_groups,
)
from marl_engine.policies.weights import policies_equal
from marl_engine.responders.preference.referee import (
    Referee,
    across,
    all_pairs,
    best_and_worst,
    by_margin,
    chosen,
    wins_among,
)
from marl_engine.types import Policy

PAIRS = ("product", "best_worst", "tournament", "across", "margin")
POOLED = ("across", "margin")  # the answers of the opponent are learned from too


class Verdicts(NamedTuple):
    """What the judge said of B groups of K answers."""

    wins: Tensor  # (B, K)
    pairs: Tensor  # (B, R, 2)
    preferred: Tensor  # (B, R)


class PreferenceBatch(NamedTuple):
    """What there is to learn from."""

    numbers: Tensor  # (B,) of the prompts
    completions: Completions  # B * K, the learner's
    answers: Completions  # those that are learned from; with pooled pairs, the opponent's too
    found: Verdicts
    within: bool  # wins are against the others of the group, and not an opponent

    @property
    def prompt_numbers(self) -> Tensor:
        """The prompt of each of the learner's completions, (B * K,)."""
        return self.numbers.repeat_interleave(len(self.completions.texts) // len(self.numbers))

    def state(self) -> list[Any]:
        """For a checkpoint."""
        return [self.numbers, *(part._asdict() for part in self[1:4]), self.within]


def load_batch(state: list[Any], device: str) -> PreferenceBatch:
    """What `PreferenceBatch.state` returned, as a batch again."""
    numbers, completions, answers, verdicts, within = state
    own, every = (Completions(**each).to(device) for each in (completions, answers))
    return PreferenceBatch(numbers, own, every, Verdicts(**verdicts), within)


@dataclass
class PreferenceCollector:
    """B prompts in an iteration, K answers of the learner to each, M of whoever else plays."""

    referee: Referee  # whose random numbers also draw prompts and seeds
    device: str
    prompts: int  # B
    each: int  # K
    opponents: int  # M
    pairs: str
    least_margin: float

    def ask(self, learner: LanguagePolicy, opponent: Policy | None) -> PreferenceBatch:
        """Answers of the learner, compared with each other or with the opponent's."""
        numbers = self._drawn()
        mine, theirs = self._both(learner, opponent, numbers)
        said = split_groups(mine.texts, self.prompts)
        if theirs is None:
            return PreferenceBatch(numbers, mine, mine, self._within(numbers, said), True)
        others = split_groups(theirs.texts, self.prompts)
        if self.pairs == "margin":
            found = self._within(numbers, [[*one, *other] for one, other in zip(said, others, strict=True)])
        else:
            found = self._against(self.referee.between(numbers, said, others))
        both = merge_groups(mine, theirs, self.prompts) if self.pairs in POOLED else mine
        return PreferenceBatch(numbers, mine, both, found, False)

    def _against(self, table: Tensor) -> Verdicts:
        """Of wins (B, K, M) over somebody else: two answers are as far apart as what they win."""
        wins = table.mean(-1)
        if self.pairs == "across":
            return Verdicts(torch.cat([wins, 1 - table.mean(1)], dim=1), across(*table.shape), table.flatten(1))
        pairs = best_and_worst(wins) if self.pairs == "best_worst" else all_pairs(*wins.shape)
        one, other = pairs.unbind(-1)
        return Verdicts(wins, pairs, 0.5 + wins.gather(1, one) - wins.gather(1, other))

    def _within(self, numbers: Tensor, said: list[list[Any]]) -> Verdicts:
        """Of answers that are compared with each other."""
        if self.pairs == "tournament":
            pairs, preferred = self.referee.tournament(numbers, said)
            return Verdicts(torch.full((len(said), len(said[0])), 0.5), pairs, preferred)
        table = self.referee.among(numbers, said)
        wins, (groups, size) = wins_among(table), table.shape[:2]
        if self.pairs == "best_worst":
            pairs = best_and_worst(wins)
        else:
            pairs = by_margin(wins, self.least_margin) if self.pairs == "margin" else all_pairs(groups, size)
        preferred = torch.ones(pairs.shape[:2]) if self.pairs == "margin" else chosen(table, pairs)
        return Verdicts(wins, pairs, preferred)

    def _drawn(self) -> Tensor:
        """Numbers (B,) of prompts, different ones if there are enough."""
        count = self.referee.game.train_prompts
        if count < self.prompts:
            return torch.randint(count, (self.prompts,), generator=self.referee.generator)
        return torch.randperm(count, generator=self.referee.generator)[: self.prompts]

    def _both(
        self, learner: LanguagePolicy, opponent: Policy | None, numbers: Tensor
    ) -> tuple[Completions, Completions | None]:
        """Answers of the learner and of its opponent; side by side where that is a mixture of the learner."""
        own, others = self.each, self.opponents
        if opponent is None:
            return self._answers(learner, numbers, own), None
        if not (isinstance(opponent, GeometricMixture) and policies_equal(opponent.one, learner)):
            return self._answers(learner, numbers, own), self._answers(opponent, numbers, others)
        places = torch.arange(self.prompts * (own + others), device=self.device).view(self.prompts, -1)
        mine, theirs = places[:, :own].flatten(), places[:, own:].flatten()
        mixture = GeometricMixture(learner, opponent.other, opponent.weight, theirs)
        both = self._answers(mixture, numbers, own + others)
        return both.part(mine), both.part(theirs)

    def _answers(self, policy: Policy, numbers: Tensor, each: int) -> Completions:
        """`each` answers to each of the prompts, group by group."""
        seeds = torch.randint(2**62, (self.prompts * each,), generator=self.referee.generator)
        return complete(policy, numbers.repeat_interleave(each).to(self.device), seeds.to(self.device))
