"""Judges that are a formula: a population of raters, each with a weighted sum of scores that programs read off a text.

The choice model of games/raters.py, on texts (Munos et al. 2023, arXiv:2312.00886, section 3). One rater is a model of
Bradley and Terry; several can prefer a to b, b to c and c to a, and `cycles` counts how often they do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, isfinite
from typing import ClassVar, Protocol

import numpy as np

from games.preference.judges.population import preferred, shared
from games.preference.judges.text_scores import SCORES, check, words
from marl_engine.errors import Halted, Refused, excerpt
from marl_engine.numerics.checks import check_fields
from marl_engine.responders.preference.referee import check_chances

WORDLESS = -1e6  # what an answer without any words is worth to every rater, whatever the weights
EQUAL = 1e-12  # margins below it are a tie: what is left of 1/2 after rounding
SAMPLE, FEWEST = 32, 8  # comparisons that a judge is tested by, at most, and at least where it draws its verdicts
ROUNDED = 1e-6  # what the chances of both orders may lack of 1
CERTAIN = 5.0  # standard errors that the mean of drawn verdicts may be off


class Judge(Protocol):
    """Says which answer is better; prefers(x, a, b) + prefers(x, b, a) = 1 and prefers(x, a, a) = 1/2.

    A class may declare `antisymmetric = True` where that is so by its form; others are tested by `check_antisymmetry`.
    """

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """P(first is better), (N,) float64, of N prompts with two answers each. Raises Halted where it cannot say."""
        ...


@dataclass
class RaterJudge:
    """p = sum over raters of share * sigmoid((score of first - score of second) / temperature), and P(first is better)
    is p, or the chance that it has the majority of a jury of n raters drawn by their shares (Condorcet 1785): the sum
    over k > n/2 of C(n, k) p^k (1 - p)^(n - k).

    Raises ValueError for a population that there cannot be.
    """

    antisymmetric: ClassVar[bool] = True
    raters: Sequence[Mapping[str, float]] = field(default_factory=lambda: [{"sentiment": 1.0}])  # weights by score
    shares: Sequence[float] | None = None  # of raters; null: all alike
    temperature: float = 0.1  # of their choices, in units of the scores; 0: the higher score for certain
    jury: int = 1  # raters who are asked and vote, an odd number

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
        self.share = shared(self.shares, len(self.raters), "game.judge.shares")

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """What each rater thinks of each answer, (K, N). Raises Halted where a score is no number."""
        found = np.array([SCORES[name](prompts, answers) for name in self.names])
        if not np.isfinite(found).all():
            row, column = np.argwhere(~np.isfinite(found))[0]
            raise Halted(
                f"game.judge.raters: {self.names[row]} of {excerpt(answers[column])!r} is {found[row, column]}"
            )
        liked = (self.weights[:, :, None] * found).sum(1)  # a matrix product's last bit depends on the other answers
        return np.where([bool(words(answer)) for answer in answers], liked, WORDLESS)

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """P(first is better), (N,)."""
        pairs = list(zip([*prompts, *prompts], [*firsts, *seconds], strict=True))
        place = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        found = self.scores([prompt for prompt, _ in place], [answer for _, answer in place])
        both = found[:, [place[pair] for pair in pairs]].reshape(len(found), 2, -1)
        return majority(preferred(both, self.share, self.temperature)[0, 1], self.jury)


def majority(chance: np.ndarray, jury: int) -> np.ndarray:
    """The sum over k > n/2 of C(n, k) p^k (1 - p)^(n - k), (N,), of chances p (N,) and an odd n; of 1 - p the rest."""
    if jury == 1:
        return chance
    votes = np.arange(jury // 2 + 1, jury + 1)
    ways = np.array([comb(jury, vote) for vote in votes], float)
    won, lost = ((ways * p[:, None] ** votes * (1 - p[:, None]) ** (jury - votes)).sum(1) for p in (chance, 1 - chance))
    return won / (won + lost)


def check_antisymmetry(judge: Judge, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> None:
    """Raises Refused for a judge whose chances for the two orders of N pairs do not add up to 1.

    A judge that says another thing when it is asked again draws its verdicts; then they are to add up on average.
    """
    orders = ((firsts, seconds), (seconds, firsts), (firsts, seconds))
    there, back, again = (check_chances(judge.prefers(prompts, *order), len(prompts)) for order in orders)
    excess = there + back - 1
    if np.array_equal(there, again):
        wrong = abs(excess).max(initial=0) > ROUNDED
    else:
        wrong = len(excess) >= FEWEST and abs(excess.mean()) > CERTAIN * excess.std() / len(excess) ** 0.5 + ROUNDED
    if wrong:
        place = int(abs(excess).argmax())
        raise Refused(
            f"game.judge: {type(judge).__name__} favours a place: to {excerpt(prompts[place])!r} it prefers "
            f"{excerpt(firsts[place])!r} to {excerpt(seconds[place])!r} with a chance of {there[place]:.6g}, and in "
            f"the other order the latter with {back[place]:.6g}; both must add up to 1: ask in both orders and return "
            "(p + 1 - q) / 2"
        )


def table(judge: Judge, prompt: str, answers: Sequence[str]) -> np.ndarray:
    """P[a, b], (A, A): how often the judge prefers answer a to answer b."""
    firsts = [answer for answer in answers for _ in answers]
    return judge.prefers([prompt] * len(firsts), firsts, [*answers] * len(answers)).reshape(len(answers), -1)


def cycles(preference: np.ndarray) -> float:
    """Of all triples among A answers, the share that goes in a circle: a beats b, b beats c, c beats a.

    Preference (A, A): how often the row is preferred to the column. A triple with a tie is no circle; fewer than three
    answers have none.
    """
    beats = (preference - preference.T > EQUAL).astype(float)
    circles = np.einsum("ab,bc,ca->", beats, beats, beats, optimize=True) / 3
    return float(circles / max(1, comb(len(preference), 3)))
