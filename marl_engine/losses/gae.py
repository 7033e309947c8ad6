"""Generalised advantage estimation for any order of moves (Schulman et al. 2016, arXiv:1506.02438, equation 16).

With the ratios of V-trace it corrects for play by an older policy (Espeholt et al. 2018, arXiv:1802.01561, section 4).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_loop


class Advantages(NamedTuple):
    """The advantages of decisions, zero where there is none, and the decisions whose outcome is known."""

    advantage: Tensor  # (T, B, P)
    known: Tensor  # (T, B, P) bool


def gae(
    reward: Tensor,
    value: Tensor,
    done: Tensor,
    acting: Tensor,
    *,
    after: Tensor,
    acts_after: Tensor | None = None,
    ending: Tensor | None,
    alive: Tensor | None = None,
    unknown: Tensor | None = None,
    rho: Tensor | None = None,
    discount: float,
    gae_lambda: float,
) -> Advantages:
    """Computes the advantages of each seat's decisions, and which decisions can be learned from.

    `reward`, `value`, `acting` and `alive` are (T, B, P), `done` is (T, B). `after` (B, P) is the value of the
    observation after the last decision, zero for seats that have left the game; `acts_after` (B, P) tells which seats
    act there or have left, None means all. `ending` (T, B, P) is the value of the final observation of a game: zero if
    the game ended by its rules, the critic's value if it was truncated; None means zero everywhere. `alive` tells which
    seats are still in the game; None means all. A decision is credited with all rewards until the seat's next decision.
    If the seat leaves before that, it is credited with all rewards up to the step in which it leaves, and with no value
    after it:

        delta_t = sum r + discount * V(next own decision) - V_t,    A_t = delta_t + discount * gae_lambda * A_next.

    While a seat waits, critics have learned no value of what it observes. So the outcome of a decision is unknown if
    its game goes on and the seat does not act again; the seat's decisions before it bootstrap from V_t. The same holds
    if the game is truncated while the seat waits: `unknown` (T, B, P) is True at the end of such games; None means
    nowhere.

    If another policy mu played, `rho` (T, B, P) are the ratios min(1, pi / mu) of the decisions of a seat; None means
    1. Then

        A_t = delta_t + discount * gae_lambda * rho_next * A_next,

    where rho_t A_t is v_t - V_t of V-trace: equation 1 with both truncations at 1, and lambda in c as in remark 2. So
    V_t + rho_t A_t are the targets of the critic, and rho_t A_t multiplies the gradient of log pi. Departure from the
    paper: with gae_lambda < 1 the latter bootstraps from (1 - lambda) V_next + lambda v_next, not from v_next, so that
    it is GAE where all ratios are 1.
    """
    arrays = [each.cpu().numpy() for each in (reward, value, done, acting, after)]
    ends = torch.zeros(1, 1, 1).expand(reward.shape) if ending is None else ending.cpu()
    there = torch.ones(1, 1, 1, dtype=torch.bool).expand(reward.shape) if alive is None else alive.cpu()
    hidden = torch.zeros(1, 1, 1, dtype=torch.bool).expand(reward.shape) if unknown is None else unknown.cpu()
    acts = torch.ones_like(after, dtype=torch.bool) if acts_after is None else acts_after
    advantage, known = np.zeros(reward.shape, np.float32), np.zeros(reward.shape, bool)
    masks = (there.numpy(), acts.cpu().numpy(), hidden.numpy())
    ratio = None if rho is None else rho.cpu().numpy()
    _sweep(*arrays, ends.numpy(), *masks, np.float32(discount), np.float32(gae_lambda), ratio, advantage, known)
    return Advantages(*(torch.from_numpy(each).to(reward.device) for each in (advantage, known)))


@compile_loop
def _sweep(
    reward, value, done, acting, after, ending, alive, acts_after, unknown, discount, gae_lambda, rho, advantage, known
):
    turns, games, players = reward.shape
    for game in range(games):
        for seat in range(players):
            next_value, next_advantage, earned = after[game, seat], np.float32(0), np.float32(0)
            waits = not acts_after[game, seat]
            for turn in range(turns - 1, -1, -1):
                if done[turn, game]:
                    next_value, next_advantage, earned = ending[turn, game, seat], np.float32(0), np.float32(0)
                    waits = unknown[turn, game, seat]
                if not alive[turn, game, seat]:
                    next_value, next_advantage, earned = np.float32(0), np.float32(0), np.float32(0)
                    waits = False
                    continue
                earned += reward[turn, game, seat]
                if acting[turn, game, seat]:
                    if not waits:
                        delta = earned + discount * next_value - value[turn, game, seat]
                        next_advantage = delta + discount * gae_lambda * next_advantage
                        advantage[turn, game, seat], known[turn, game, seat] = next_advantage, True
                        if rho is not None:
                            next_advantage *= rho[turn, game, seat]
                    next_value, earned, waits = value[turn, game, seat], np.float32(0), False
