"""Losses for policies that learn from comparisons of answers, as pure functions.

There are B groups of K answers to one prompt each, of L tokens. Each policy that the learner is regularised towards
(`near`: anchor, magnet) has a weight w, that of the penalty KL(learner || near); W is the sum of the weights. With

    h(y) = log pi(y) - sum of w / W * log near(y)

the maximiser of <P, pi> - sum of w * KL(pi || near) is the policy for which W * (h(y) - h(y')) equals P(y > opponent) -
P(y' > opponent) for all pairs (Zhang et al. 2024, arXiv:2407.00617, proposition 6). With one reference this gives IPO,
with two INPO; the other losses are variants.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from marl_engine.losses.ppo import clipped_surrogate


class PreferencePairs(NamedTuple):
    """Groups of answers with the verdicts of the judge.

    The log-probability of an answer is a sum over its L tokens.
    """

    log_prob: Tensor  # (B, K, L) with gradient; 0 where there is no token
    old: Tensor  # (B, K, L) when sampled
    mask: Tensor  # (B, K, L) bool
    near: list[Tensor]  # (B, K, L) each
    weights: list[float]  # w, one for each policy in `near`
    wins: Tensor  # (B, K) how often an answer is preferred to those of the opponent
    pairs: Tensor  # (B, R, 2) int64: indices of two answers in their group; -1: no pair
    preferred: Tensor  # (B, R): how often the first of a pair is preferred to the second
    within: bool = True  # wins are against other answers of the group, not an opponent


class PreferenceLossSettings(NamedTuple):
    """Hyperparameters of single losses."""

    clip: float = 0.2  # epsilon of the surrogate
    baseline: str = "half"
    margin: float = 0.5  # gamma of SimPO
    scale: float = 2.0  # beta of SimPO
    optimism: float = 0.0  # alpha of XPO


def excess(batch: PreferencePairs) -> Tensor:
    """Returns W * h(y), (B, K). It is exactly 0 if the policy equals all policies that it is regularised towards."""
    apart = (weight * (batch.log_prob - near) for weight, near in zip(batch.weights, batch.near, strict=True))
    return sum(apart, torch.zeros_like(batch.log_prob)).sum(-1)


def pair_differences(each: Tensor, pairs: Tensor) -> Tensor:
    """Returns differences (B, R) of numbers (B, K): of each pair, the first answer's minus the second's."""
    one, other = (each.gather(1, place.clamp(min=0)) for place in pairs.unbind(-1))
    return one - other


def mean_of_pairs(loss: Tensor, pairs: Tensor) -> Tensor:
    """Returns the mean of a loss (B, R) over the pairs that exist."""
    exists = pairs[..., 0] >= 0
    return (loss * exists).sum() / exists.sum().clamp(min=1)


def reinforce(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns -sum_n A_n log pi(y_n), A_n = P(y > opponent) - baseline - sum_{k >= n} sum of w * log(pi / near)(y_k).

    This is the policy gradient of Nash-MD-PG (Munos et al. 2023, arXiv:2312.00886, section 7). A token is credited with
    the penalties of all later tokens. If the answers were sampled from an older policy, the clipped surrogate is used.
    """
    now = batch.log_prob.detach()
    penalty = sum((w * (now - near) for w, near in zip(batch.weights, batch.near, strict=True)), torch.zeros_like(now))
    later_penalties = (penalty * batch.mask).flip(-1).cumsum(-1).flip(-1)
    advantage = (
        BASELINES[settings.baseline](batch.wins, later_penalties[..., 0], batch.within)[..., None] - later_penalties
    )
    loss = clipped_surrogate(batch.log_prob, batch.old, advantage, settings.clip)
    return (loss * batch.mask).sum(-1).mean()


def half(wins: Tensor, penalty: Tensor, within: bool) -> Tensor:
    """Returns wins - 1/2, (B, K): one half is the win rate against a copy of oneself."""
    return wins - 0.5


def leave_one_out(wins: Tensor, penalty: Tensor, within: bool) -> Tensor:
    """Returns wins minus the mean value of the other answers in the group, including KL penalties: RLOO (Ahmadian et
    al. 2024).

    If answers are compared within the group, the others' wins against this answer are excluded, since they would count
    twice. Among themselves the others win one half on average.
    """
    value = (0.5 if within else wins) - penalty
    others = (value.sum(-1, keepdim=True) - value) / max(value.shape[-1] - 1, 1)
    return wins - others


def standardised(wins: Tensor, penalty: Tensor, within: bool) -> Tensor:
    """Returns (wins - mean) / standard deviation within the group: GRPO (Shao et al. 2024, arXiv:2402.03300).

    Dividing by the standard deviation changes the strength W of regularisation.
    """
    return (wins - wins.mean(-1, keepdim=True)) / (wins.std(-1, unbiased=False, keepdim=True) + 1e-6)


BASELINES = {"half": half, "leave_one_out": leave_one_out, "standardised": standardised}


def squared(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns (W (h - h') - (p - 1/2))^2: IPO and INPO, times W^2.

    With p = 1 it is the papers' (h - h' - 1 / (2 W))^2.
    """
    return mean_of_pairs((pair_differences(excess(batch), batch.pairs) - (batch.preferred - 0.5)) ** 2, batch.pairs)


def logistic(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns -p log sigma(W (h - h')) - (1 - p) log sigma(-W (h - h')): DPO with beta = W (Rafailov et al.
    2023).
    """
    margin = pair_differences(excess(batch), batch.pairs)
    return mean_of_pairs(F.binary_cross_entropy_with_logits(margin, batch.preferred, reduction="none"), batch.pairs)


def contrastive(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns `logistic` with p = sigma(P(y > opponent) - P(y' > opponent)).

    DNO (Rosset et al. 2024, arXiv:2404.03715).
    """
    likes = torch.sigmoid(pair_differences(batch.wins, batch.pairs))
    return logistic(batch._replace(preferred=likes), settings)


def pointwise(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns (W h(y) - (P(y > opponent) - 1/2))^2: SPPO (Wu et al. 2024, arXiv:2405.00675), with 1/2 in place of log
    Z.

    It uses all answers. The paper's code uses the best and the worst of five, whose mean is not that of the policy.
    """
    return ((excess(batch) - (batch.wins - 0.5)) ** 2).mean()


def simple(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns `logistic` of scale * (mean log pi(y_n) - mean log pi(y'_n)) - margin: SimPO (Meng et al. 2024).

    No reference.
    """
    each = batch.log_prob.sum(-1) / batch.mask.sum(-1).clamp(min=1)
    lead = settings.scale * pair_differences(each, batch.pairs)
    loss = -batch.preferred * F.logsigmoid(lead - settings.margin)
    return mean_of_pairs(loss - (1 - batch.preferred) * F.logsigmoid(-lead - settings.margin), batch.pairs)


def exploring(batch: PreferencePairs, settings: PreferenceLossSettings) -> Tensor:
    """Returns `logistic` + optimism * log pi(the opponent's answers, second in their pairs): XPO (Xie et al.
    2024).
    """
    opponent_log_prob = batch.log_prob.sum(-1).gather(1, batch.pairs[..., 1].clamp(min=0))
    return logistic(batch, settings) + settings.optimism * mean_of_pairs(opponent_log_prob, batch.pairs)


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
BY_VERDICT = ("squared", "logistic", "simple")  # losses that use only which answer of a pair is preferred
