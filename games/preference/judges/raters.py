"""Judges defined by a formula: a population of raters, each of whom weighs text scores.

This is the choice model of `population.py` on texts (Munos et al. 2023, arXiv:2312.00886, section 3). One rater is a
Bradley-Terry model. Several raters can prefer a to b, b to c and c to a; `cycles` measures how often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, isfinite
from typing import ClassVar

import numpy as np

from games.preference.judges.population import population_preference, rater_shares
from games.preference.judges.text_scores import SCORES, check, words
from marl_engine.errors import Halted, Refused, excerpt
from marl_engine.numerics.checks import check_fields
from marl_engine.responders.preference.queries import Judge, check_chances

WORDLESS = -1e6  # score of an answer without words, for every rater
EQUAL = 1e-12  # smaller margins are ties: rounding errors around 1/2
SAMPLE, MIN_RANDOM = 32, 8  # largest number of test comparisons, and smallest for random verdicts
ROUNDING = 1e-6  # allowed deviation of the sum of both orders from 1
STANDARD_ERRORS = 5.0  # allowed deviation of the mean of random verdicts, in standard errors


@dataclass
class RaterJudge:
    """p = sum over raters of share * sigmoid((score of first - score of second) / temperature).

    P(first is better) is p, or with a jury of n raters drawn according to their shares, the probability of a majority
    (Condorcet 1785): the sum over k > n/2 of C(n, k) p^k (1 - p)^(n - k).

    Raises ValueError for an invalid population.
    """

    antisymmetric: ClassVar[bool] = True
    pure: ClassVar[bool] = True
    raters: Sequence[Mapping[str, float]] = field(default_factory=lambda: [{"sentiment": 1.0}])  # weights by score
    shares: Sequence[float] | None = None  # of raters; null: equal
    temperature: float = 0.1  # of their choices, in units of the scores; 0: always the higher score
    jury: int = 1  # number of voting raters, odd

    def __post_init__(self) -> None:
        names = list(dict.fromkeys(name for rater in self.raters for name in rater))
        unknown = [name for name in names if name not in SCORES]
        if unknown:
            raise ValueError(f"game.judge.raters: there is no score {unknown[0]!r}; choose from {', '.join(SCORES)}")
        if not self.raters or not all(self.raters) or not all(isfinite(w) for r in self.raters for w in r.values()):
            raise ValueError(f"game.judge.raters must be one or more of {{score: weight}}, not {self.raters}")
        check_fields("game.judge", self, "temperature", least=0)
        if self.jury < 1 or self.jury % 2 == 0:
            raise ValueError(f"game.judge.jury must be an odd number, so that there is no draw, not {self.jury}")
        check(names)
        self.weights = np.array([[rater.get(name, 0.0) for name in names] for rater in self.raters])  # (K, scores)
        self.names = names
        self.share = rater_shares(self.shares, len(self.raters), "game.judge.shares")

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """Returns each rater's score of each answer, (K, N). Raises Halted if a score is not finite."""
        scores = np.array([SCORES[name](prompts, answers) for name in self.names])
        if not np.isfinite(scores).all():
            row, column = np.argwhere(~np.isfinite(scores))[0]
            raise Halted(
                f"game.judge.raters: {self.names[row]} of {excerpt(answers[column])!r} is {scores[row, column]}"
            )
        # not a matrix product, whose last bit depends on the other answers
        totals = (self.weights[:, :, None] * scores).sum(1)
        return np.where([bool(words(answer)) for answer in answers], totals, WORDLESS)

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """Returns P(first is better), (N,)."""
        pairs = list(zip([*prompts, *prompts], [*firsts, *seconds], strict=True))
        place = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        scores = self.scores([prompt for prompt, _ in place], [answer for _, answer in place])
        scores = scores[:, [place[pair] for pair in pairs]].reshape(len(scores), 2, -1)
        return majority(population_preference(scores, self.share, self.temperature)[0, 1], self.jury)


def majority(chance: np.ndarray, jury: int) -> np.ndarray:
    """Returns the sum over k > n/2 of C(n, k) p^k (1 - p)^(n - k), (N,), for probabilities p (N,) and an odd n."""
    if jury == 1:
        return chance
    votes = np.arange(jury // 2 + 1, jury + 1)
    ways = np.array([comb(jury, vote) for vote in votes], float)
    win, loss = ((ways * p[:, None] ** votes * (1 - p[:, None]) ** (jury - votes)).sum(1) for p in (chance, 1 - chance))
    return win / (win + loss)


def check_antisymmetry(judge: Judge, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> None:
    """Raises Refused for a judge whose probabilities for the two orders of N pairs do not add up to 1.

    If the judge gives other verdicts when it is called again, they are random, and the sum must be 1 on average.
    """
    orders = ((firsts, seconds), (seconds, firsts), (firsts, seconds))
    forward, backward, repetition = (check_chances(judge.prefers(prompts, *order), len(prompts)) for order in orders)
    excess = forward + backward - 1
    if np.array_equal(forward, repetition):
        biased = abs(excess).max(initial=0) > ROUNDING
    else:
        error = excess.std() / len(excess) ** 0.5
        biased = len(excess) >= MIN_RANDOM and abs(excess.mean()) > STANDARD_ERRORS * error + ROUNDING
    if biased:
        place = int(abs(excess).argmax())
        raise Refused(
            f"game.judge: {type(judge).__name__} favours a place: to {excerpt(prompts[place])!r} it prefers "
            f"{excerpt(firsts[place])!r} to {excerpt(seconds[place])!r} with a chance of {forward[place]:.6g}, and in "
            f"the other order the latter with {backward[place]:.6g}; both must add up to 1: ask in both orders and "
            "return (p + 1 - q) / 2"
        )


def preference_table(judge: Judge, prompt: str, answers: Sequence[str]) -> np.ndarray:
    """Returns P[a, b], (A, A): how often the judge prefers answer a to answer b."""
    firsts = [answer for answer in answers for _ in answers]
    return judge.prefers([prompt] * len(firsts), firsts, [*answers] * len(answers)).reshape(len(answers), -1)


def cycles(preference: np.ndarray) -> float:
    """Returns the share of cyclic triples among all triples of A answers: a beats b, b beats c, c beats a.

    `preference` (A, A) is how often the row is preferred to the column. A triple with a tie is not a cycle; the share
    is 0 for fewer than three answers.
    """
    beats = (preference - preference.T > EQUAL).astype(float)
    circles = np.einsum("ab,bc,ca->", beats, beats, beats, optimize=True) / 3
    return float(circles / max(1, comb(len(preference), 3)))
