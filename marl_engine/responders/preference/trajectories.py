"""Win rates of trajectories against recent ones, which SPO uses as rewards.

Swamy et al. 2024 (arXiv:2401.04056, algorithm 2). Every comparison is counted.
"""

import torch
from torch import Tensor

from marl_engine.capabilities import TrajectoryPreferenceGame, lack_of
from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.rollout import Trajectory
from marl_engine.types import Responder


def sample_verdicts(chances: Tensor, seed: int, queries: int) -> Tensor:
    """Samples verdicts 0 or 1 with the given probabilities that the first of two trajectories wins.

    The seed and the number of earlier `queries` determine the result. If the probability is exactly 1/2, so is the
    verdict.
    """
    place = torch.arange(queries + 1, queries + 1 + chances.numel()).view(chances.shape).to(chances.device)
    noise = to_unit_interval(mix_bits(mix_bits(torch.tensor(seed, device=chances.device)) + GOLDEN * place))
    return torch.where(chances == 0.5, chances, (noise < chances).to(chances.dtype))


def compare_trajectories(
    judge: TrajectoryPreferenceGame, new: Tensor, old: Tensor, seed: int, queries: int
) -> tuple[Tensor, int]:
    """Compares new trajectories (N, K) with each other and with old ones (M, K).

    Returns outcomes (N, N + M) and the number of comparisons. A pair of new trajectories is compared once; the outcome
    of a trajectory against itself is 1/2, without a comparison.
    """
    count = len(new)
    row, column = torch.triu_indices(count, count, 1, device=new.device)
    pairs = sample_verdicts(judge.compare(new[row], new[column]), seed, queries)
    among = pairs.new_full((count, count), 0.5)
    among[row, column], among[column, row] = pairs, 1 - pairs
    past = sample_verdicts(judge.compare(new[:, None], old[None]), seed, queries + len(pairs))
    return torch.cat([among, past], dim=1), len(pairs) + past.numel()


def win_rates(outcomes: Tensor) -> Tensor:
    """Returns the mean of outcomes (N, M) over the queue, which includes the trajectory itself: (N,)."""
    return outcomes.mean(1)


def split_trajectories(steps: Tensor, horizon: int) -> Tensor:
    """Splits a stretch of play (T, B, ...) into trajectories (H, N, ...), N = T / H * B.

    Raises ValueError unless T is a multiple of H.
    """
    if len(steps) % horizon:
        raise ValueError(
            f"responder.rollout_length must be a multiple of the {horizon} steps of a trajectory, not {len(steps)}"
        )
    return steps.unflatten(0, (-1, horizon)).transpose(0, 1).flatten(1, 2)


def repeat_over_steps(numbers: Tensor, turns: int, horizon: int) -> Tensor:
    """Repeats numbers of trajectories, (N,) or (H, N), over the steps of a stretch of play, (T, B, 1).

    The inverse of `split_trajectories`.
    """
    repeated = numbers.expand(horizon, -1)
    return repeated.unflatten(1, (turns // horizon, -1)).transpose(0, 1).flatten(0, 1)[..., None]


def summaries(judge: TrajectoryPreferenceGame, trajectory: Trajectory) -> Tensor:
    """Returns the summaries (N, K), which are compared, of the trajectories in a stretch of play."""
    reward, action = (
        split_trajectories(each[:, :, 0], judge.horizon) for each in (trajectory.reward, trajectory.action)
    )
    return judge.summary(reward, action)


def trajectory_game(responder: Responder, name: str) -> TrajectoryPreferenceGame:
    """Returns the game of a responder as one whose trajectories are compared.

    Raises ValueError if it is none, or if the responder does not support payoffs. `name` is the solver's.
    """
    if lack := lack_of(responder.game, TrajectoryPreferenceGame, name):
        raise ValueError(lack)
    check_supports(responder, name, "payoff")
    game: TrajectoryPreferenceGame = responder.game
    return game
