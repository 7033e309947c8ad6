"""What gradient learners minimise, as pure functions on rows."""

import torch
import torch.nn.functional as F
from torch import Tensor


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A), r = exp(log_prob - old_log_prob); all (N,).

    Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347, equation 7).
    """
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def squared(value: Tensor, target: Tensor, old_value: Tensor, width: float) -> Tensor:
    """(value - target)^2 / 2, (N,)."""
    return 0.5 * (value - target) ** 2


def huber(value: Tensor, target: Tensor, old_value: Tensor, width: float) -> Tensor:
    """Squared within `width` of the target and linear beyond, (N,)."""
    return F.huber_loss(value, target, reduction="none", delta=width)


def clipped_value(value: Tensor, target: Tensor, old_value: Tensor, width: float) -> Tensor:
    """The larger of the squared errors of the value and of the value clipped to old_value ± width, (N,)."""
    near = old_value + (value - old_value).clamp(-width, width)
    return 0.5 * torch.maximum((value - target) ** 2, (near - target) ** 2)


VALUE_LOSSES = {"squared": squared, "huber": huber, "clipped": clipped_value}
