"""Who is preferred: answers shown to a judge in pairs, and which pairs are learned from. Every comparison is counted.

B prompts, K answers to each, M answers of an opponent. What a judge says is a chance in [0, 1]; as `coins` it is
tossed, as when a person is asked once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import PreferenceGame
from marl_engine.errors import Halted


class Referee:
    """Asks a game's judge, and counts."""

    def __init__(self, game: PreferenceGame, sample_labels: bool, generator: torch.Generator):
        self.game, self.sample_labels, self.generator = game, sample_labels, generator
        self.queries = 0

    def ask(self, numbers: Tensor, firsts: Sequence[Any], seconds: Sequence[Any]) -> Tensor:
        """How often the first of two answers to a prompt (N,) is preferred, (N,) float32. Raises Halted."""
        found = check_chances(self.game.prefers(numbers, firsts, seconds), len(numbers))
        self.queries += len(numbers)
        chance = torch.from_numpy(found).float()
        return (torch.rand(chance.shape, generator=self.generator) < chance).float() if self.sample_labels else chance

    def among(self, numbers: Tensor, said: Sequence[Sequence[Any]]) -> Tensor:
        """All answers to a prompt with each other, (B, K, K): 1/2 on the diagonal, K (K - 1) / 2 comparisons each."""
        size = len(said[0])
        one, other = (each.tolist() for each in np.triu_indices(size, 1))
        firsts = [each[place] for each in said for place in one]
        seconds = [each[place] for each in said for place in other]
        found = self.ask(numbers.repeat_interleave(len(one)), firsts, seconds).view(len(said), -1)
        table = torch.full((len(said), size, size), 0.5)
        table[:, one, other], table[:, other, one] = found, 1 - found
        return table

    def between(self, numbers: Tensor, said: Sequence[Sequence[Any]], others: Sequence[Sequence[Any]]) -> Tensor:
        """All answers with all of the opponent's, (B, K, M)."""
        shape = len(said), len(said[0]), len(others[0])
        firsts = [each for mine in said for each in mine for _ in range(shape[2])]
        seconds = [each for mine, theirs in zip(said, others, strict=True) for _ in mine for each in theirs]
        return self.ask(numbers.repeat_interleave(shape[1] * shape[2]), firsts, seconds).view(shape)

    def tournament(self, numbers: Tensor, said: Sequence[Sequence[Any]]) -> tuple[Tensor, Tensor]:
        """A winner and a loser of each group (B, 1, 2), and how often it is preferred (B, 1); -1 where it is not.

        Winners of pairs meet winners and losers losers, the first advancing from a tie, until there is one of each;
        the pair is kept if the winner beats the loser: 11 comparisons for K = 8 (Zhang et al. 2024, appendix B, whose
        label is then certain; here it is what the judge gave, unless that is a coin).
        """
        places = torch.arange(len(said[0])).expand(len(said), -1)
        winners, losers = self.round(numbers, said, places)
        while winners.shape[1] > 1:
            winners, losers = self.round(numbers, said, winners)[0], self.round(numbers, said, losers)[1]
        last = torch.cat([winners, losers], dim=1)[:, None]
        likes = self.meet(numbers, said, last[..., 0], last[..., 1])
        return torch.where((likes > 0.5)[..., None], last, -1), likes

    def round(self, numbers: Tensor, said: Sequence[Sequence[Any]], places: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours among places (B, K) meet; those that win and those that lose, (B, K / 2) each."""
        one, other = places[:, 0::2], places[:, 1::2]
        wins = self.meet(numbers, said, one, other) >= 0.5
        return torch.where(wins, one, other), torch.where(wins, other, one)

    def meet(self, numbers: Tensor, said: Sequence[Sequence[Any]], one: Tensor, other: Tensor) -> Tensor:
        """How often answers at places (B, R) are preferred to answers at others, (B, R)."""
        firsts, seconds = (
            [said[group][place] for group, row in enumerate(places.tolist()) for place in row]
            for places in (one, other)
        )
        return self.ask(numbers.repeat_interleave(one.shape[1]), firsts, seconds).view(one.shape)


def check_chances(chances: Any, count: int) -> np.ndarray:
    """What a judge gave for so many comparisons, (N,) float64. Raises Halted for anything but chances."""
    rule = f"the judge must give a chance between 0 and 1 for each of {count} comparisons, and gave"
    try:
        array = np.asarray(chances, float)
    except (ValueError, TypeError) as error:
        raise Halted(f"{rule} what are no numbers: {error}") from error
    if array.shape != (count,):
        raise Halted(f"{rule} an array of shape {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():
        place = int(np.flatnonzero(~((array >= 0) & (array <= 1)))[0])
        raise Halted(f"{rule} {array[place]} for the one at {place}")
    return array


def wins_among(table: Tensor) -> Tensor:
    """How often each of a group is preferred to the others in it, (B, K) of (B, K, K)."""
    size = table.shape[-1]
    return (table.sum(-1) - 0.5) / (size - 1)


def all_pairs(groups: int, size: int) -> Tensor:
    """(B, K (K - 1) / 2, 2): for a loss that has to see pairs as they are drawn, y and y' independently."""
    return torch.tensor(np.stack(np.triu_indices(size, 1), axis=-1)).expand(groups, -1, -1)


def best_and_worst(wins: Tensor) -> Tensor:
    """(B, 1, 2) by wins (B, K)."""
    return torch.stack([wins.argmax(-1), wins.argmin(-1)], dim=-1)[:, None]


def across(groups: int, own: int, others: int) -> Tensor:
    """(B, K * M, 2): each of the own with each of the others, which come after them in the group."""
    pairs = torch.cartesian_prod(torch.arange(own), torch.arange(own, own + others))
    return pairs.expand(groups, -1, -1)


def by_margin(wins: Tensor, least: float) -> Tensor:
    """(B, K, 2): the best with each that wins less often by `least` or more; -1 for the others (DNO-Prct)."""
    best = wins.argmax(-1, keepdim=True).expand_as(wins)
    far = wins.gather(1, best) - wins >= least
    places = torch.arange(wins.shape[1]).expand_as(wins)
    return torch.where(far[..., None], torch.stack([best, places], dim=-1), -1)


def chosen(table: Tensor, pairs: Tensor) -> Tensor:
    """How often the first of each pair (B, R, 2) is preferred to the second by (B, K, K), (B, R)."""
    one, other = pairs.clamp(min=0).unbind(-1)
    return table[torch.arange(len(table))[:, None], one, other]
