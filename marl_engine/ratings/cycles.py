"""Whether one number can describe the results: how much of them is cyclic, and which three entrants form a cycle.

The leads L = -L' of all pairs are split into a transitive part s_i - s_j and a rest, which is orthogonal to it and sums
to 0 around every entrant (Jiang et al. 2011, "Statistical ranking and combinatorial Hodge theory"; Balduzzi et al.
2018). Sampling alone produces a rest, too. Its expected size is therefore subtracted.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from marl_engine.ratings.results import CONFIDENCE, Results

SHOWN = 10  # cycles
NOTABLE = 0.1  # share of the cyclic part from which on ratings mislead


class Cycle(NamedTuple):
    """Three entrants of whom each beats the next, and the last one the first."""

    entrants: tuple[int, int, int]
    leads: tuple[float, float, float]  # in payoff, of each over the next

    @property
    def weakest(self) -> float:
        """Returns the smallest of the leads."""
        return min(self.leads)


class Cycles(NamedTuple):
    """The cyclic part of results."""

    share: float  # of the sum of squared leads, from 0 to 1, without what sampling explains; nan if there is none
    triples: int  # number of significant cycles of three
    strongest: tuple[Cycle, ...]  # those with the largest weakest lead, at most `SHOWN`
    verdict: str


def find_cycles(results: Results) -> Cycles:
    """Returns the cyclic part of results.

    A cycle counts if each of its leads is larger than 0 with the confidence of `CONFIDENCE` for all pairs together.
    """
    if results.team:
        return Cycles(np.nan, 0, (), "All seats are paid the same, so nobody beats anybody and there are no cycles.")
    lead, met = np.where(results.met, np.nan_to_num(results.lead), 0.0), results.met
    share = cyclic_share(lead, np.where(met, np.nan_to_num(results.lead_stderr), 0.0), met)
    pairs = max(int(met.sum()) // 2, 1)
    threshold = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * pairs))
    beats = (
        met & (lead > 1e-9 * np.abs(lead).max(initial=0.0)) & (lead > threshold * np.nan_to_num(results.lead_stderr))
    )
    count = round(np.trace(np.linalg.matrix_power(beats.astype(float), 3)) / 3)
    strongest = strongest_cycles(lead, beats) if count else ()
    return Cycles(share, count, strongest, describe(results, share, count, strongest))


def transitive_part(lead: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Returns the ratings s (N,) with the smallest sum of squares of L - (s_i - s_j) over the pairs that met."""
    laplacian = np.diag(met.sum(1)) - met.astype(float)
    solution: np.ndarray = np.linalg.pinv(laplacian, hermitian=True) @ lead.sum(1)
    return solution


def cyclic_share(lead: np.ndarray, stderr: np.ndarray, met: np.ndarray) -> float:
    """Returns the cyclic share of the squared leads (N, N), without the share expected from standard errors."""
    s = transitive_part(lead, met)
    rest = np.where(met, lead - (s[:, None] - s), 0.0)
    noise, pairs = (stderr**2).sum(), met.sum() / 2
    free = 1 - (len(lead) - 1) / pairs if pairs else 0.0  # share of the noise that the transitive part cannot absorb
    cyclic, total = (rest**2).sum() - free * noise, (lead**2).sum() - noise
    if (lead**2).sum() <= 0:
        return 0.0
    return float(np.clip(cyclic / total, 0.0, 1.0)) if total > 0 else 0.0


def strongest_cycles(lead: np.ndarray, beats: np.ndarray) -> tuple[Cycle, ...]:
    """Returns the cycles of three in `beats` (N, N) with the largest weakest lead."""
    size = np.where(beats, lead, -np.inf)
    best: list[tuple[float, int, int, int]] = []
    for one in range(len(lead)):  # the smallest number in the cycle
        weakest = np.minimum(size[one, one:, None], np.minimum(size[one:, one:], size[one:, one][None]))
        flat = weakest.ravel()
        for place in np.argpartition(flat, -min(SHOWN, flat.size))[-SHOWN:]:
            two, three = np.unravel_index(place, weakest.shape)
            if np.isfinite(weakest[two, three]):
                best.append((float(weakest[two, three]), one, one + int(two), one + int(three)))
    chosen = sorted(best, key=lambda each: (-each[0], each[1:]))[:SHOWN]
    return tuple(Cycle((a, b, c), (float(lead[a, b]), float(lead[b, c]), float(lead[c, a]))) for _, a, b, c in chosen)


def describe(results: Results, share: float, count: int, strongest: tuple[Cycle, ...]) -> str:
    """Returns what the cyclic part means for a reader of the ratings."""
    names = results.names
    part = f"{share:.0%} of the differences between entrants are cyclic"
    if strongest:
        a, b, c = strongest[0].entrants
        example = f"{names[a]} beats {names[b]}, {names[b]} beats {names[c]}, and {names[c]} beats {names[a]}"
        number = "One significant cycle" if count == 1 else f"{count:,} significant cycles"
        trust = "no single rating can describe these results" if share >= NOTABLE else "ratings describe most results"
        return f"{number} of three: {example}. {part}; {trust}."
    if not np.abs(np.nan_to_num(results.lead)).max(initial=0.0) > 0:
        return "No entrant is ahead of another; all ratings are equal."
    doubt = "; but no cycle of three is significant with this number of games" if share >= NOTABLE else ""
    return f"No significant cycle of three. {part}{doubt}."
