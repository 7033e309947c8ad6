"""Win rates of trajectories among recent ones: what SPO pays where nobody else does.

Swamy et al. 2024 (arXiv:2401.04056, algorithm 2). Every comparison is counted.
"""

import torch
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame, lack_of
from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Responder


def give_verdicts(chances: Tensor, seed: int, asked: int) -> Tensor:
    """0, 1/2 or 1: what is answered where the first of two wins with these chances, `asked` being questions before.

    The number of a question and the seed decide it. A tie that is certain to be one stays one half.
    """
    place = torch.arange(asked + 1, asked + 1 + chances.numel()).view(chances.shape).to(chances.device)
    noise = to_unit_interval(mix_bits(mix_bits(torch.tensor(seed, device=chances.device)) + GOLDEN * place))
    return torch.where(chances == 0.5, chances, (noise < chances).to(chances.dtype))


def contest(judge: TrajectoryPreferenceGame, new: Tensor, old: Tensor, seed: int, asked: int) -> tuple[Tensor, int]:
    """Outcomes (N, N + M) of new trajectories (N, K) against themselves and old ones (M, K), and how many were asked.

    No trajectory is compared with itself: that counts one half. A pair of new ones is asked about once.
    """
    count = len(new)
    row, column = torch.triu_indices(count, count, 1, device=new.device)
    pairs = give_verdicts(judge.preferred(new[row], new[column]), seed, asked)
    among = pairs.new_full((count, count), 0.5)
    among[row, column], among[column, row] = pairs, 1 - pairs
    past = give_verdicts(judge.preferred(new[:, None], old[None]), seed, asked + len(pairs))
    return torch.cat([among, past], dim=1), len(pairs) + past.numel()


def win_rates(outcomes: Tensor) -> Tensor:
    """The mean over a queue, own place included, of outcomes (N, M): (N,)."""
    return outcomes.mean(1)


def whole(each: Tensor, horizon: int) -> Tensor:
    """The trajectories (H, N, ...) in a stretch of play (T, B, ...), N = T / H * B.

    Raises ValueError unless T is a multiple of H.
    """
    if len(each) % horizon:
        raise ValueError(
            f"responder.rollout_length must be a multiple of the {horizon} steps of a trajectory, not {len(each)}"
        )
    return each.unflatten(0, (-1, horizon)).transpose(0, 1).flatten(1, 2)


def stretched(each: Tensor, turns: int, horizon: int) -> Tensor:
    """Numbers of trajectories (H, N) or (N,), the same in all steps, as those of a stretch of play (T, B, 1)."""
    every = each.expand(horizon, -1)
    return every.unflatten(1, (turns // horizon, -1)).transpose(0, 1).flatten(0, 1)[..., None]


def summaries(judge: TrajectoryPreferenceGame, trajectory: Trajectory) -> Tensor:
    """What is compared of the trajectories (N, K) in a stretch of play."""
    reward, action = (whole(each[:, :, 0], judge.horizon) for each in (trajectory.reward, trajectory.action))
    return judge.summary(reward, action)


def comparing(responder: Responder, name: str) -> TrajectoryPreferenceGame:
    """The game of a responder, whose trajectories are compared.

    Raises ValueError, in the name of a solver, unless trajectories can be compared and the responder takes payoffs.
    """
    if lack := lack_of(responder.game, TrajectoryPreferenceGame, name):
        raise ValueError(lack)
    check_supports(responder, name, "payoff")
    game: TrajectoryPreferenceGame = responder.game
    return game
