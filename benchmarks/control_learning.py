"""Pendulum-v1 by reward (PPO, MDPO, SAC beside Stable-Baselines3) and by preferences (SPO beside reward models).

    python benchmarks/control_learning.py                     # all, three seeds each
    python benchmarks/control_learning.py --part preferences --seeds 2 --steps 200_000

By reward a row is the cost (minus the return of greedy play) after so many steps, or the seconds that these took. By
preferences it is how often the last trajectories of SPO are preferred to those of a reward model that asked as often;
under the intransitive ones, how far the average of all is exploited. Everything runs on one thread, in turn.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import takewhile
from statistics import median
from typing import Any

import torch
from side_by_side import Row, ask, last_line, require, show
from torch import Tensor

from games.control.gymnasium import Control
from games.control.trajectory_preference import CENTRE, TrajectoryPreference
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference.trajectories import summaries
from marl_engine.responders.sac import SAC
from marl_engine.rollout.rollout import play, score
from solvers.mirror_descent.mdpo import MDPO
from solvers.preference.reward_model import RewardModelling
from solvers.preference.trajectory_spo import TrajectorySPO
from solvers.self_play import SelfPlay

EPISODES = 128
ASKED = 32 * 31 // 2 + 32 * 64  # comparisons in an iteration of SPO: 32 trajectories among each other and with a queue
ON = {"num_envs": 16, "rollout_length": 100, "discount": 0.9}
MIRROR = {**ON, "clip": float("inf"), "minibatches": 1, "epochs": 10, "entropy_bonus": 0.0}
BY_REWARD = {  # solver, responder, its fields, the peer
    "PPO": (SelfPlay(), PPO, {**ON, "entropy_bonus": 0.01}, "ppo"),
    "MDPO on-policy, m = 10": (MDPO(step_size=0.1), PPO, MIRROR, "ppo"),
    "MDPO on-policy, m = 1": (MDPO(step_size=0.1), PPO, {**MIRROR, "epochs": 1}, "ppo"),  # plain policy gradient
    "SAC": (SelfPlay(), SAC, {"num_envs": 8, "rollout_length": 100}, "sac"),
    "MDPO off-policy": (MDPO(step_size=1.0), SAC, {"num_envs": 8, "rollout_length": 100}, "sac"),
}
REGIMES = {
    "transitive": {},
    "noisy (30% flipped)": {"flips": 0.3},
    "non-Markovian": {"preference": "non_markovian"},
    "intransitive": {"preference": "intransitive", "horizon": 60},
}
LEARNERS = {
    "SPO": lambda: TrajectorySPO(queue=64),
    "reward model, iterated": lambda: RewardModelling(comparisons=ASKED),
    "reward model, once": lambda: RewardModelling(refit_every=0, comparisons=ASKED),
}


def annealed(rate: float, steps: int) -> dict[str, float]:
    """A rate that falls to a tenth."""
    return {"start": rate, "end": rate / 10, "over": steps}


def by_reward(name: str, seed: int, steps: int) -> dict[str, float]:
    """The return of greedy play after so many steps, and the seconds that they took."""
    solver, kind, fields, _ = BY_REWARD[name]
    torch.manual_seed(seed)
    game, network = Control(), MLPSpec(squashed=kind is SAC)
    profile = network.profile(game)
    rate = annealed(2e-3, steps) if kind is PPO else 1e-3
    responder = kind(game, network, seed=seed, learning_rate=rate, **fields)
    began = time.perf_counter()
    next(each for each in solver.solve(profile, responder) if responder.work["steps"] >= steps)
    seconds = time.perf_counter() - began
    return {
        "return": score(Control(), profile, derive_seeds(2**40, EPISODES), greedy=True).mean().item(),
        "seconds": seconds,
    }


def rewarded(seeds: int, steps: dict[str, int]) -> list[Row]:
    """Cost and seconds of ours and of the peer, medians over seeds."""
    rows = []
    peers = {name: [ask("sb3", "sb3_control.py", name, seed, steps[name]) for seed in range(seeds)] for name in steps}
    for name, (*_, peer) in BY_REWARD.items():
        mine = [by_reward(name, seed, steps[peer]) for seed in range(seeds)]
        ends = f"{spelled(mine)} to {spelled(peers[peer])}"
        for what, unit, sign in (("return", "cost", -1), ("seconds", "s", 1)):
            ours, theirs = (median(sign * each[what] for each in runs) for runs in (mine, peers[peer]))
            case = f"{name}, {steps[peer]:,} steps"
            rows.append(Row(case, f"SB3 {peer.upper()}", theirs / ours, ours, theirs, unit, ends if sign < 0 else ""))
    return rows


def spelled(runs: Sequence[dict[str, Any]]) -> str:
    """The returns of all seeds."""
    return ", ".join(f"{each['return']:.0f}" for each in runs)


def by_preference(regime: str, learner: str, seed: int, steps: int) -> tuple[TrajectoryPreference, Tensor, Tensor]:
    """The game, summaries (N, 6) of 128 last trajectories, and those of the policies of the last three quarters."""
    torch.manual_seed(seed)
    game, network = TrajectoryPreference(**REGIMES[regime]), MLPSpec()
    profile = network.profile(game)
    rate = 3e-3 if regime == "intransitive" else annealed(1e-3, steps)
    fields = {"discount": 0.9, "gae_lambda": 0.8, "epochs": 10, "payoff_scale": 1.0, "entropy_bonus": 0.01}
    responder = PPO(game, network, seed=seed, num_envs=32, rollout_length=game.horizon, learning_rate=rate, **fields)
    calls: list[Tensor] = []
    for _ in takewhile(lambda _: responder.work["steps"] < steps, LEARNERS[learner]().solve(profile, responder)):
        if responder.work["steps"] > steps / 4:
            calls.append(trajectories(game, profile, responder.work["steps"], 8))
    return game, trajectories(game, profile, 2**40, EPISODES), torch.cat(calls)


def trajectories(game: TrajectoryPreference, profile: list, seed: int, count: int) -> Tensor:
    """Summaries (count, 6) of sampled play."""
    seeds = derive_seeds(seed, count)
    return summaries(game, play(game, profile, game.reset(seeds), seeds, 0, game.horizon)[0])


def exploited(game: TrajectoryPreference, result: Tensor) -> float:
    """2 (max P(y > found) - 1/2) over trajectories y all around the circle."""
    angles = torch.linspace(0, 2 * torch.pi, 361)
    pushes = torch.tensor(CENTRE) + 0.5 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    every = torch.cat([torch.zeros(len(angles), 4), pushes], dim=-1)
    return 2 * game.compare(every[:, None], result[None]).mean(1).max().item() - 1


def described(game: TrajectoryPreference, last: Tensor) -> str:
    """What the trajectories earn, by the task's own reward."""
    if game.preference == "non_markovian":
        retained = (last[:, 3] <= game.limit).float().mean().item()
        return f"{last[:, :3].sum(1).mean():.0f} early, limit kept {retained:.2f}"
    return f"{last[:, :4].sum(1).mean():.0f}"


def preferred(seeds: int, steps: int) -> list[Row]:
    """SPO beside both reward models, in every regime, means over seeds."""
    rows = []
    for regime in REGIMES:
        results = {name: [by_preference(regime, name, seed, steps) for seed in range(seeds)] for name in LEARNERS}
        game = results["SPO"][0][0]
        for rival in list(LEARNERS)[1:]:
            pairs = list(zip(results["SPO"], results[rival], strict=True))
            if regime == "intransitive":
                ours, theirs = ([exploited(game, run[2]) for run in each] for each in zip(*pairs, strict=True))
                note = " to ".join(", ".join(f"{gap:.2f}" for gap in each) for each in (ours, theirs))
                mine, other = sum(ours) / seeds, sum(theirs) / seeds
                rows.append(Row(regime, rival, other / mine, mine, other, "gap of average", note))
                continue
            wins = [game.compare(one[1][:, None], two[1][None]).mean().item() for one, two in pairs]
            share = (sum(wins) / seeds - game.flips) / (1 - 2 * game.flips)  # without the noise of the answers
            note = " to ".join("; ".join(described(game, run[1]) for run in results[name]) for name in ("SPO", rival))
            rows.append(Row(regime, rival, share / max(1 - share, 1e-3), share, 1 - share, "preferred", note))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["all", "reward", "preferences"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000, help="of a run by preferences")
    parser.add_argument("--on-policy", type=int, default=100_000, help="steps of a run by reward, on-policy")
    parser.add_argument("--off-policy", type=int, default=10_000, help="the same, off-policy")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if options.part != "preferences":
        require(["sb3"])
        rows += rewarded(options.seeds, {"ppo": options.on_policy, "sac": options.off_policy})
    if options.part != "reward":
        rows += preferred(options.seeds, options.steps)
    show("Pendulum-v1", "beside", rows)
    print(last_line("control_learning", rows))


if __name__ == "__main__":
    main()
