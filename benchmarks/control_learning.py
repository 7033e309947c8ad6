"""Compares learning methods on Pendulum-v1, from rewards and from preferences.

    python benchmarks/control_learning.py                     # both parts, three seeds each
    python benchmarks/control_learning.py --part preferences --seeds 2 --steps 200_000

From rewards, PPO, SAC and MDPO are compared with Stable-Baselines3: a row is the cost (minus the return of greedy play)
after a number of steps, or the seconds that training took. From preferences, SPO is compared with reward models that
are fitted to the same number of comparisons: a row is how often the final trajectories of SPO are preferred to those of
the reward model. Intransitive preferences have no best trajectory; there a row is how far the average of the policies
can be exploited. Everything runs on one thread, one run after the other.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import takewhile
from statistics import median
from typing import Any

import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer
from torch import Tensor

from games.control.gymnasium import Control
from games.control.trajectory_preference import CENTRE, TrajectoryPreference
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.off_policy.sac import SAC
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference.trajectories import summaries
from marl_engine.rollout.rollout import play, score
from solvers.mirror_descent.mdpo import MDPO
from solvers.preference.reward_model import RewardModelling
from solvers.preference.trajectory_spo import TrajectorySPO
from solvers.self_play import SelfPlay

EPISODES = 128
COMPARISONS = 32 * 31 // 2 + 32 * 64  # of an iteration of SPO: between 32 trajectories, and with a queue of 64
ON_POLICY = {"num_envs": 16, "rollout_length": 100, "discount": 0.9}
MIRROR = {**ON_POLICY, "clip": float("inf"), "minibatches": 1, "epochs": 10, "entropy_bonus": 0.0}
REWARD_METHODS = {  # solver, responder, its fields, the peer
    "PPO": (SelfPlay(), PPO, {**ON_POLICY, "entropy_bonus": 0.01}, "ppo"),
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
    "reward model, iterated": lambda: RewardModelling(comparisons=COMPARISONS),
    "reward model, once": lambda: RewardModelling(refit_every=0, comparisons=COMPARISONS),
}


def decay(rate: float, steps: int) -> dict[str, float]:
    """Returns a schedule of a learning rate that falls to a tenth."""
    return {"start": rate, "end": rate / 10, "over": steps}


def train_by_reward(name: str, seed: int, steps: int) -> dict[str, float]:
    """Trains a method for a number of steps; returns the return of greedy play, and the seconds of training."""
    solver, kind, fields, _ = REWARD_METHODS[name]
    torch.manual_seed(seed)
    game, network = Control(), MLPSpec(squashed=kind is SAC)
    profile = network.profile(game)
    rate = decay(2e-3, steps) if kind is PPO else 1e-3
    responder = kind(game, network, seed=seed, learning_rate=rate, **fields)
    start = time.perf_counter()
    next(progress for progress in solver.solve(profile, responder) if responder.work["steps"] >= steps)
    seconds = time.perf_counter() - start
    return {
        "return": score(Control(), profile, derive_seeds(2**40, EPISODES), greedy=True).mean().item(),
        "seconds": seconds,
    }


def compare_by_reward(seeds: int, steps: dict[str, int]) -> list[Row]:
    """Compares cost and training time with the peer; medians over seeds. `steps` are by algorithm of the peer."""
    rows = []
    peer_runs = {
        name: [run_peer("sb3", "sb3_control.py", name, seed, count) for seed in range(seeds)]
        for name, count in steps.items()
    }
    for name, (*_, peer) in REWARD_METHODS.items():
        runs = [train_by_reward(name, seed, steps[peer]) for seed in range(seeds)]
        returns = f"{format_returns(runs)} to {format_returns(peer_runs[peer])}"
        for key, unit, sign in (("return", "cost", -1), ("seconds", "s", 1)):
            value, peer_value = (median(sign * run[key] for run in program) for program in (runs, peer_runs[peer]))
            case, note = f"{name}, {steps[peer]:,} steps", returns if key == "return" else ""
            rows.append(Row(case, f"SB3 {peer.upper()}", peer_value / value, value, peer_value, unit, note))
    return rows


def format_returns(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the returns of all seeds as text."""
    return ", ".join(f"{run['return']:.0f}" for run in runs)


def train_by_preference(
    regime: str, learner: str, seed: int, steps: int
) -> tuple[TrajectoryPreference, Tensor, Tensor]:
    """Trains a learner; returns the game, and summaries (N, 6) of trajectories of the final and of earlier policies.

    There are 128 trajectories of the final policy. The others are eight of every iteration after the first quarter.
    """
    torch.manual_seed(seed)
    game, network = TrajectoryPreference(**REGIMES[regime]), MLPSpec()
    profile = network.profile(game)
    rate = 3e-3 if regime == "intransitive" else decay(1e-3, steps)
    fields = {"discount": 0.9, "gae_lambda": 0.8, "epochs": 10, "payoff_scale": 1.0, "entropy_bonus": 0.01}
    responder = PPO(game, network, seed=seed, num_envs=32, rollout_length=game.horizon, learning_rate=rate, **fields)
    stretches: list[Tensor] = []
    for _ in takewhile(lambda _: responder.work["steps"] < steps, LEARNERS[learner]().solve(profile, responder)):
        if responder.work["steps"] > steps / 4:
            stretches.append(sample_summaries(game, profile, responder.work["steps"], 8))
    return game, sample_summaries(game, profile, 2**40, EPISODES), torch.cat(stretches)


def sample_summaries(game: TrajectoryPreference, profile: list, seed: int, count: int) -> Tensor:
    """Returns summaries (count, 6) of sampled trajectories."""
    seeds = derive_seeds(seed, count)
    return summaries(game, play(game, profile, game.reset(seeds), seeds, 0, game.horizon)[0])


def measure_gap(game: TrajectoryPreference, result: Tensor) -> float:
    """Returns 2 (max P(y > x) - 1/2) for x drawn from `result` (N, 6), over trajectories y all around the circle."""
    angles = torch.linspace(0, 2 * torch.pi, 361)
    pushes = torch.tensor(CENTRE) + 0.5 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    circle = torch.cat([torch.zeros(len(angles), 4), pushes], dim=-1)
    return 2 * game.compare(circle[:, None], result[None]).mean(1).max().item() - 1


def describe_returns(game: TrajectoryPreference, last: Tensor) -> str:
    """Returns the mean return of trajectories with summaries (N, 6), by the task's own reward, as text."""
    if game.preference == "non_markovian":
        share = (last[:, 3] <= game.limit).float().mean().item()
        return f"{last[:, :3].sum(1).mean():.0f} early, limit kept {share:.2f}"
    return f"{last[:, :4].sum(1).mean():.0f}"


def compare_by_preference(seeds: int, steps: int) -> list[Row]:
    """Compares SPO with both reward models in every regime; means over seeds."""
    rows = []
    for regime in REGIMES:
        results = {name: [train_by_preference(regime, name, seed, steps) for seed in range(seeds)] for name in LEARNERS}
        game = results["SPO"][0][0]
        for rival in list(LEARNERS)[1:]:
            pairs = list(zip(results["SPO"], results[rival], strict=True))
            if regime == "intransitive":
                gaps = [[measure_gap(game, run[2]) for run in results[name]] for name in ("SPO", rival)]
                note = " to ".join(", ".join(f"{gap:.2f}" for gap in learner) for learner in gaps)
                value, peer_value = (sum(learner) / seeds for learner in gaps)
                rows.append(Row(regime, rival, peer_value / value, value, peer_value, "gap of average", note))
                continue
            wins = [game.compare(first[1][:, None], second[1][None]).mean().item() for first, second in pairs]
            share = (sum(wins) / seeds - game.flips) / (1 - 2 * game.flips)  # without the noise of the comparisons
            notes = ("; ".join(describe_returns(game, run[1]) for run in results[name]) for name in ("SPO", rival))
            odds = share / max(1 - share, 1e-3)
            rows.append(Row(regime, rival, odds, share, 1 - share, "preferred", " to ".join(notes)))
    return rows


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["all", "reward", "preferences"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000, help="steps of a run from preferences")
    parser.add_argument("--on-policy", type=int, default=100_000, help="steps of an on-policy run from rewards")
    parser.add_argument("--off-policy", type=int, default=10_000, help="steps of an off-policy run from rewards")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if options.part != "preferences":
        require_peers(["sb3"])
        rows += compare_by_reward(options.seeds, {"ppo": options.on_policy, "sac": options.off_policy})
    if options.part != "reward":
        rows += compare_by_preference(options.seeds, options.steps)
    print_table("Pendulum-v1", "peer", rows)
    print(format_json("control_learning", rows))


if __name__ == "__main__":
    main()
