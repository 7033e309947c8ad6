"""Has answers compared by the judge of a game, counts comparisons, and forms pairs of answers to learn from.

There are B prompts, K answers to each, and M answers of an opponent. A verdict is a probability in [0, 1]; with
`sample_labels` it is replaced by a sampled label, 0 or 1, in the process of the run, wherever the judge is asked.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import PreferenceGame, missing_members
from marl_engine.responders.preference.queries import QueryGame, ask_in_shards, check_chances
from marl_engine.runners import LOCAL
from marl_engine.types import Runner


class Referee:
    """Has pairs of answers compared by a game's judge. `queries` counts the comparisons.

    With a `shard`, the comparisons of so many prompts are a job of the runner, if the judge can be asked in jobs.
    """

    def __init__(
        self,
        game: PreferenceGame,
        sample_labels: bool,
        generator: torch.Generator,
        shard: int | None = None,
        runner: Runner = LOCAL,
    ):
        self.game, self.sample_labels, self.generator = game, sample_labels, generator
        self.shard, self.runner = shard, runner
        self.query_game: QueryGame | None = None if missing_members(game, QueryGame) else cast(QueryGame, game)
        self.queries = 0

    def compare(self, numbers: Tensor, firsts: Sequence[Any], seconds: Sequence[Any]) -> Tensor:
        """Returns how often the first of two answers is preferred, (N,) float32, N = B * R.

        There are R comparisons to each of the prompts (B,), in a row. Raises Halted if the judge returns anything but
        probabilities.
        """
        chance = torch.from_numpy(self._ask(numbers, len(firsts) // len(numbers), firsts, seconds)).float()
        self.queries += len(chance)
        return (torch.rand(chance.shape, generator=self.generator) < chance).float() if self.sample_labels else chance

    def _ask(self, numbers: Tensor, count: int, firsts: Sequence[Any], seconds: Sequence[Any]) -> np.ndarray:
        """Returns the judge's probabilities (B * R,), from jobs if it can be asked in jobs; R is the `count`."""
        comparisons = numbers.repeat_interleave(count), firsts, seconds
        if self.shard is not None and self.query_game is not None:
            queries = self.query_game.list_queries(*comparisons)
            if queries is not None:
                return ask_in_shards(queries, self.shard * count, self.runner)
        return check_chances(self.game.prefers(*comparisons), len(firsts))

    def compare_all(self, numbers: Tensor, texts: Sequence[Sequence[Any]]) -> Tensor:
        """Compares all answers to each prompt with each other, by K (K - 1) / 2 comparisons.

        Returns (B, K, K) with 1/2 on the diagonal.
        """
        size = len(texts[0])
        one, other = (each.tolist() for each in np.triu_indices(size, 1))
        firsts = [each[place] for each in texts for place in one]
        seconds = [each[place] for each in texts for place in other]
        wins = self.compare(numbers, firsts, seconds).view(len(texts), -1)
        table = torch.full((len(texts), size, size), 0.5)
        table[:, one, other], table[:, other, one] = wins, 1 - wins
        return table

    def compare_with(
        self, numbers: Tensor, texts: Sequence[Sequence[Any]], opposing: Sequence[Sequence[Any]]
    ) -> Tensor:
        """Compares all answers with all of the opponent's, (B, K, M)."""
        shape = len(texts), len(texts[0]), len(opposing[0])
        firsts = [each for own_group in texts for each in own_group for _ in range(shape[2])]
        seconds = [
            each
            for own_group, opposing_group in zip(texts, opposing, strict=True)
            for _ in own_group
            for each in opposing_group
        ]
        return self.compare(numbers, firsts, seconds).view(shape)

    def run_tournament(self, numbers: Tensor, texts: Sequence[Sequence[Any]]) -> tuple[Tensor, Tensor]:
        """Returns the winner and the loser of a tournament in each group.

        They are pairs (B, 1, 2), with the probability that the winner is preferred to the loser, (B, 1). The pair is
        (-1, -1) if the winner does not beat the loser.

        In each round winners meet winners and losers meet losers until one of each is left; the first answer of a pair
        advances from a tie. With K = 8 there are 11 comparisons (Zhang et al. 2024, appendix B). It departs from the
        source in the last label, which is the judge's probability instead of 1, unless labels are sampled.
        """
        places = torch.arange(len(texts[0])).expand(len(texts), -1)
        winners, losers = self.play_round(numbers, texts, places)
        while winners.shape[1] > 1:
            winners, losers = self.play_round(numbers, texts, winners)[0], self.play_round(numbers, texts, losers)[1]
        last = torch.cat([winners, losers], dim=1)[:, None]
        likes = self.compare_at(numbers, texts, last[..., 0], last[..., 1])
        return torch.where((likes > 0.5)[..., None], last, -1), likes

    def play_round(self, numbers: Tensor, texts: Sequence[Sequence[Any]], places: Tensor) -> tuple[Tensor, Tensor]:
        """Compares neighbours among places (B, K); returns the places of winners and losers, (B, K / 2) each."""
        one, other = places[:, 0::2], places[:, 1::2]
        wins = self.compare_at(numbers, texts, one, other) >= 0.5
        return torch.where(wins, one, other), torch.where(wins, other, one)

    def compare_at(self, numbers: Tensor, texts: Sequence[Sequence[Any]], one: Tensor, other: Tensor) -> Tensor:
        """Compares the answers at places `one` (B, R) with those at places `other` (B, R); returns (B, R)."""
        firsts, seconds = (
            [texts[group][place] for group, row in enumerate(places.tolist()) for place in row]
            for places in (one, other)
        )
        return self.compare(numbers, firsts, seconds).view(one.shape)


def wins_among(table: Tensor) -> Tensor:
    """Returns how often each answer is preferred to the others of its group: (B, K), from (B, K, K)."""
    size = table.shape[-1]
    return (table.sum(-1) - 0.5) / (size - 1)


def all_pairs(groups: int, size: int) -> Tensor:
    """Returns all pairs of different places, (B, K (K - 1) / 2, 2).

    Losses whose expectation is over independent samples y and y' need all of them.
    """
    return torch.tensor(np.stack(np.triu_indices(size, 1), axis=-1)).expand(groups, -1, -1)


def best_and_worst(wins: Tensor) -> Tensor:
    """Returns the places of the answers with the most and the fewest wins, (B, 1, 2), from wins (B, K)."""
    return torch.stack([wins.argmax(-1), wins.argmin(-1)], dim=-1)[:, None]


def cross_pairs(groups: int, own: int, opposing: int) -> Tensor:
    """Returns pairs of each of `own` places with each of `opposing` places, (B, own * opposing, 2).

    In a group the opponent's answers follow the learner's.
    """
    pairs = torch.cartesian_prod(torch.arange(own), torch.arange(own, own + opposing))
    return pairs.expand(groups, -1, -1)


def margin_pairs(wins: Tensor, least: float) -> Tensor:
    """Returns pairs (B, K, 2) of the best answer and each answer with wins lower by at least `least` (DNO-Prct).

    The other pairs are (-1, -1).
    """
    best = wins.argmax(-1, keepdim=True).expand_as(wins)
    far = wins.gather(1, best) - wins >= least
    places = torch.arange(wins.shape[1]).expand_as(wins)
    return torch.where(far[..., None], torch.stack([best, places], dim=-1), -1)


def preferences_of(table: Tensor, pairs: Tensor) -> Tensor:
    """Returns how often the first of each pair (B, R, 2) is preferred to the second, (B, R), from (B, K, K)."""
    one, other = pairs.clamp(min=0).unbind(-1)
    return table[torch.arange(len(table))[:, None], one, other]
