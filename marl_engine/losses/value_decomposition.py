"""Values of teams composed of values of their members, such that the best joint action is made of the best own ones.

Value decomposition networks (VDN; Sunehag et al. 2017, arXiv:1706.05296, equation 2) add them:

    Q_tot = sum_i Q_i(o_i, a_i).

QMIX (Rashid et al. 2018, arXiv:1803.11485, section 4.1) mixes them by a network that increases in each of them, whose
weights are functions of the state:

    Q_tot = |w_2|^T ELU(|W_1| Q + b_1) + v.

The value of a seat that is not acting counts as 0.
"""

import torch.nn.functional as F
from torch import Tensor


def add_values(values: Tensor) -> Tensor:
    """Returns the sums (N,) of values (N, P)."""
    return values.sum(-1)


def count_mixing_weights(players: int, units: int) -> int:
    """Returns the number of weights of `mix_values`, with a hidden layer of so many units."""
    return (players + 2) * units + 1


def mix_values(values: Tensor, weights: Tensor, units: int) -> Tensor:
    """Returns the values (N,) of teams, from values (N, P) of seats and weights (N, (P + 2) * units + 1).

    The weights are those of W_1, b_1, w_2 and v, one after the other.
    """
    players = values.shape[-1]
    first, bias, second, value = weights.split([players * units, units, units, 1], dim=-1)
    hidden = (values[:, None] @ first.abs().unflatten(-1, (players, units)))[:, 0] + bias
    return (F.elu(hidden) * second.abs()).sum(-1) + value[:, 0]


def choose_values(values: Tensor, action: Tensor, acting: Tensor) -> Tensor:
    """Returns the values (N, P) of actions (N, P) among values (N, P, A); 0 where a seat is not acting (N, P)."""
    return values.gather(-1, action[..., None])[..., 0] * acting


def td_target(reward: Tensor, over: Tensor, value: Tensor, discount: float) -> Tensor:
    """Returns reward + discount * (1 - over) * value, (N,).

    `over` (N,) is 1 for games that ended by their rules. A game that was truncated goes on in `value` (N,), that of its
    last observation.
    """
    return reward + discount * (1 - over) * value
