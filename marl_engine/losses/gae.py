"""Generalised advantage estimation for any order of moves (Schulman et al. 2016, arXiv:1506.02438, equation 16)."""

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.jit import compile_loop


def gae(
    reward: Tensor,
    value: Tensor,
    done: Tensor,
    acting: Tensor,
    *,
    after: Tensor,
    ending: Tensor | None,
    alive: Tensor | None = None,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Computes advantages (T, B, P) of each seat's decisions; they are zero where a seat was not acting.

    `reward`, `value`, `acting` and `alive` are (T, B, P), `done` is (T, B). `after` (B, P) is the value of the
    observation after the last decision, zero for seats that have left the game. `ending` (T, B, P) is the value of the
    final observation of a game: zero if the game ended by its rules, the critic's value if it was truncated; None means
    zero everywhere. `alive` tells which seats are still in the game; None means all. A decision is credited with all
    rewards until the seat's next decision. If the seat leaves before that, it is credited with all rewards up to the
    step in which it leaves, and with no value after it:

        delta_t = sum r + discount * V(next own decision) - V_t,    A_t = delta_t + discount * gae_lambda * A_next.
    """
    arrays = [each.cpu().numpy() for each in (reward, value, done, acting, after)]
    ends = torch.zeros(1, 1, 1).expand(reward.shape) if ending is None else ending.cpu()
    there = torch.ones(1, 1, 1, dtype=torch.bool).expand(reward.shape) if alive is None else alive.cpu()
    out = np.zeros(reward.shape, np.float32)
    _sweep(*arrays, ends.numpy(), there.numpy(), np.float32(discount), np.float32(gae_lambda), out)
    return torch.from_numpy(out).to(reward.device)


@compile_loop
def _sweep(reward, value, done, acting, after, ending, alive, discount, gae_lambda, out):
    turns, games, players = reward.shape
    for game in range(games):
        for seat in range(players):
            next_value, next_advantage, earned = after[game, seat], np.float32(0), np.float32(0)
            for turn in range(turns - 1, -1, -1):
                if done[turn, game]:
                    next_value, next_advantage, earned = ending[turn, game, seat], np.float32(0), np.float32(0)
                if not alive[turn, game, seat]:
                    next_value, next_advantage, earned = np.float32(0), np.float32(0), np.float32(0)
                    continue
                earned += reward[turn, game, seat]
                if acting[turn, game, seat]:
                    delta = earned + discount * next_value - value[turn, game, seat]
                    next_advantage = delta + discount * gae_lambda * next_advantage
                    out[turn, game, seat] = next_advantage
                    next_value, earned = value[turn, game, seat], np.float32(0)
