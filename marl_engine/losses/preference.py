"""What policies that answer learn by: losses of answers that were compared, as pure functions.

B groups of K answers to one prompt each, of L tokens. Beside each token's log-probability stand those under the
profiles that the learner is held near, with the weights w of KL(learner || profile); W is their sum. With

    h(y) = log pi(y) - sum of w / W * log near(y)

the step that a solver asks for, max <P, pi> - sum of w * KL(pi || near), is where W * (h(y) - h(y')) equals
P(y > opponent) - P(y' > opponent) for all pairs (Zhang et al. 2024, arXiv:2407.00617, proposition 6): IPO with one
reference, INPO with two, and what the others depart from.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.losses.ppo import clipped_surrogate


class PreferencePairs(NamedTuple):
    """Groups of answers, and what was found of them. A sum over L of log-probabilities is that of an answer."""

    log_prob: Tensor  # (B, K, L) with gradient; 0 where there is no token
    old: Tensor  # (B, K, L) when written
    mask: Tensor  # (B, K, L) bool
    near: list[Tensor]  # (B, K, L) each
    weights: list[float]  # w, one for each of them
    wins: Tensor  # (B, K) how often an answer is preferred to those of the opponent
    pairs: Tensor  # (B, R, 2) int64: places of two answers in their group; -1 for no pair
    preferred: Tensor  # (B, R): how often the first of a pair is preferred to the second
    within: bool = True  # wins are against the others of the group, and not an opponent


class PreferenceLossSettings(NamedTuple):
    """What some losses need beside."""

    clip: float = 0.2  # epsilon of the surrogate
    baseline: str = "half"
    margin: float = 0.5  # gamma of SimPO
    scale: float = 2.0  # beta of SimPO
    optimism: float = 0.0  # alpha of XPO


def excess(batch: PreferencePairs) -> Tensor:
    """W * h(y), (B, K): exactly 0 where the policy is what it is held near."""
    apart = (weight * (batch.log_prob - near) for weight, near in zip(batch.weights, batch.near, strict=True))
    return sum(apart, torch.zeros_like(batch.log_prob)).sum(-1)


def paired(each: Tensor, pairs: Tensor) -> Tensor:
    """Of numbers (B, K), the first of each pair less the second, (B, R)."""
    one, other = (each.gather(1, place.clamp(min=0)) for place in pairs.unbind(-1))
    return one - other


def mean_of_pairs(loss: Tensor, pairs: Tensor) -> Tensor:
    """The mean over the pairs that there are of a loss (B, R)."""
    there = pairs[..., 0] >= 0
    return (loss * there).sum() / there.sum().clamp(min=1)


def reinforce(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """-sum_n A_n log pi(y_n), A_n = P(y > opponent) - baseline - sum_{k >= n} sum of w * log(pi / near)(y_k).

    The policy gradient of Nash-MD-PG (Munos et al. 2023, arXiv:2312.00886, section 7): a token answers for what comes
    after it, by the clipped surrogate where it was written by an older policy.
    """
    now = batch.log_prob.detach()
    held = sum((w * (now - near) for w, near in zip(batch.weights, batch.near, strict=True)), torch.zeros_like(now))
    ahead = (held * batch.mask).flip(-1).cumsum(-1).flip(-1)
    advantage = BASELINES[settings.baseline](batch.wins, ahead[..., 0], batch.within)[..., None] - ahead
    loss = clipped_surrogate(batch.log_prob, batch.old, advantage, settings.clip)
    return (loss * batch.mask).sum(-1).mean()


def half(wins: Tensor, held: Tensor, within: bool) -> Tensor:
    """wins - 1/2, what a copy of oneself wins: (B, K) of wins (B, K)."""
    return wins - 0.5


def leave_one_out(wins: Tensor, held: Tensor, within: bool) -> Tensor:
    """wins less what the other answers of the group are worth, KL included: RLOO (Ahmadian et al. 2024).

    Among themselves the others win one half; what they win against this one is left out, or it would count twice.
    """
    worth = (0.5 if within else wins) - held
    others = (worth.sum(-1, keepdim=True) - worth) / max(worth.shape[-1] - 1, 1)
    return wins - others


def standardised(wins: Tensor, held: Tensor, within: bool) -> Tensor:
    """(wins - mean) / deviation within the group: GRPO (Shao et al. 2024, arXiv:2402.03300), which changes W."""
    return (wins - wins.mean(-1, keepdim=True)) / (wins.std(-1, unbiased=False, keepdim=True) + 1e-6)


BASELINES = {"half": half, "leave_one_out": leave_one_out, "standardised": standardised}


def squared(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """(W (h - h') - (p - 1/2))^2: IPO and INPO, times W^2. With p = 1 it is (h - h' - 1 / (2 W))^2 in theirs."""
    return mean_of_pairs((paired(excess(batch), batch.pairs) - (batch.preferred - 0.5)) ** 2, batch.pairs)


def logistic(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """-p log sigma(W (h - h')) - (1 - p) log sigma(-W (h - h')): DPO, beta = W (Rafailov et al. 2023)."""
    margin = paired(excess(batch), batch.pairs)
    return mean_of_pairs(F.binary_cross_entropy_with_logits(margin, batch.preferred, reduction="none"), batch.pairs)


def contrastive(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """`logistic` with p = sigma(P(y > opponent) - P(y' > opponent)): DNO (Rosset et al. 2024, arXiv:2404.03715)."""
    likes = torch.sigmoid(paired(batch.wins, batch.pairs))
    return logistic(batch._replace(preferred=likes), settings)


def pointwise(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """(W h(y) - (P(y > opponent) - 1/2))^2: SPPO (Wu et al. 2024, arXiv:2405.00675), which takes log Z for 1/2.

    Of all answers, where the paper's code takes the best and the worst of five, whose mean is not the policy's.
    """
    return ((excess(batch) - (batch.wins - 0.5)) ** 2).mean()


def simple(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """`logistic` of scale * (mean log pi(y_n) - mean log pi(y'_n)) - margin: SimPO (Meng et al. 2024), no reference."""
    each = batch.log_prob.sum(-1) / batch.mask.sum(-1).clamp(min=1)
    lead = settings.scale * paired(each, batch.pairs)
    loss = -batch.preferred * F.logsigmoid(lead - settings.margin)
    return mean_of_pairs(loss - (1 - batch.preferred) * F.logsigmoid(-lead - settings.margin), batch.pairs)


def exploring(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """`logistic` + optimism * log pi(answers of the opponent, second in their pairs): XPO (Xie et al. 2024)."""
    theirs = batch.log_prob.sum(-1).gather(1, batch.pairs[..., 1].clamp(min=0))
    return logistic(batch, settings) + settings.optimism * mean_of_pairs(theirs, batch.pairs)


LOSSES = {
    "reinforce": reinforce,
    "squared": squared,
    "logistic": logistic,
    "contrastive": contrastive,
    "pointwise": pointwise,
    "simple": simple,
    "exploring": exploring,
}
OF_PAIRS = ("squared", "logistic", "simple", "exploring", "contrastive")
BY_VERDICT = ("squared", "logistic", "simple")  # those that need nothing but who of a pair is preferred
