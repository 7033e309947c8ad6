"""Compares learning methods on Pendulum-v1 and HalfCheetah-v5, from rewards and from preferences.

    python benchmarks/control_learning.py                     # Pendulum-v1, both parts, three seeds each
    python benchmarks/control_learning.py --part reward --methods PPO --seeds 5
    python benchmarks/control_learning.py --part half_cheetah # needs the extra [mujoco]; takes long
    python benchmarks/control_learning.py --part preferences --seeds 2 --steps 200_000

From rewards, runs of `marl-train` are compared with Stable-Baselines3 after equal numbers of steps: a row is the return
of greedy play from the same initial states, or the CPU seconds that training took. From preferences, SPO is compared
with reward models that are fitted to the same number of comparisons: a row is how often the final trajectories of SPO
are preferred to those of the reward model. Intransitive preferences have no best trajectory; there a row is how far the
average of the policies can be exploited. Everything runs on one core, one run after the other.
"""

import argparse
import os
import time
from collections.abc import Sequence
from itertools import takewhile
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer
from torch import Tensor

from games.control.trajectory_preference import CENTRE, TrajectoryPreference
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.responders.preference.trajectories import summaries
from marl_engine.rollout.rollout import play
from marl_engine.runs.factory import build
from marl_engine.types import Policy
from solvers.preference.reward_model import RewardModelling
from solvers.preference.trajectory_spo import TrajectorySPO

EPISODES = {"Pendulum-v1": 64, "HalfCheetah-v5": 16}  # of an evaluation
COPIES, FIRST_SEED = 8, 10_000  # of the tasks of an evaluation, as in peers/sb3_control.py
COMPARISONS = 32 * 31 // 2 + 32 * 64  # of an iteration of SPO: between 32 trajectories, and with a queue of 64


class Method(NamedTuple):
    """A run from rewards."""

    task: str
    words: str  # of marl-train
    peer: str  # ppo or sac


PENDULUM, CHEETAH = "Pendulum-v1", "HalfCheetah-v5"
OFF_POLICY = "game=control responder=off_policy policy=squashed"
PENDULUM_METHODS = {
    "PPO": Method(PENDULUM, "game=control", "ppo"),
    "MDPO on-policy, m = 10": Method(PENDULUM, "game=control solver=mdpo responder=mdpo", "ppo"),
    "MDPO on-policy, m = 1": Method(PENDULUM, "game=control solver=mdpo responder=mdpo responder.epochs=1", "ppo"),
    "SAC": Method(PENDULUM, OFF_POLICY, "sac"),
    "MDPO off-policy": Method(PENDULUM, f"{OFF_POLICY} solver=mdpo solver.step_size=1.0", "sac"),
}
CHEETAH_METHODS = {"PPO": Method(CHEETAH, f"game=control/mujoco game.name={CHEETAH}", "ppo")}
TRAJECTORIES = 128  # of the final policy, that preferences compare
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


@torch.no_grad()
def play_greedily(policy: Policy, task: str) -> float:
    """Returns the mean return of greedy play from the initial states in which Stable-Baselines3 is evaluated too.

    All episodes of a task must have the same length.
    """
    import gymnasium

    copies = [gymnasium.make(task) for _ in range(COPIES)]
    low, high = copies[0].action_space.low, copies[0].action_space.high  # type: ignore[attr-defined]
    seats, total = torch.zeros(COPIES, dtype=torch.int64), 0.0
    for episode in range(EPISODES[task] // COPIES):
        seeds = [FIRST_SEED + number if episode == 0 else None for number in range(COPIES)]
        observation = [copy.reset(seed=seed)[0] for copy, seed in zip(copies, seeds, strict=True)]
        over = False
        while not over:
            rows = policy.encode(torch.from_numpy(np.array(observation)).float(), seats)
            actions = policy(rows)[0].mode().numpy().clip(low, high)
            results = [copy.step(action) for copy, action in zip(copies, actions, strict=True)]
            observation, over = [each[0] for each in results], bool(results[0][2] or results[0][3])
            total += sum(float(each[1]) for each in results)
    return total / EPISODES[task]


def train_by_reward(method: Method, seed: int, steps: int) -> dict[str, float]:
    """Trains for a number of steps; returns the return of greedy play, and the seconds of wall and of CPU time."""
    parts = build(compose_config("train", [*method.words.split(), f"seed={seed}", f"steps={steps}"]))
    start, cpu_start = time.perf_counter(), time.process_time()
    progresses = parts.solver.solve(parts.profile, parts.responder)
    profile = next(each.profile for each in progresses if parts.responder.work["steps"] >= steps)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {"return": play_greedily(profile[0], method.task), "seconds": seconds, "cpu_seconds": cpu_seconds}


def compare_by_reward(methods: dict[str, Method], seeds: int, steps: dict[str, int]) -> list[Row]:
    """Compares return and training time with the peer; medians over seeds. `steps` are by algorithm of the peer."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    peers = {method.peer: method.task for method in methods.values()}
    peer_runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for seed in range(seeds):
        for name, method in methods.items():
            runs[name].append(train_by_reward(method, seed, steps[method.peer]))
        for peer, task in peers.items():
            peer_runs[peer].append(run_peer("sb3", "sb3_control.py", peer, task, seed, steps[peer]))
    rows = []
    for name, (task, _, peer) in methods.items():
        note = f"{format_returns(runs[name])} to {format_returns(peer_runs[peer])}"
        for key, unit in (("return", "return"), ("cpu_seconds", "CPU s")):
            value, peer_value = (median(run[key] for run in each) for each in (runs[name], peer_runs[peer]))
            ratio = value / peer_value if key == "return" and peer_value > 0 else peer_value / value
            case = f"{task}, {name}, {steps[peer]:,} steps"
            rows.append(Row(case, f"SB3 {peer.upper()}", ratio, value, peer_value, unit, note))
            note = ""
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
    return game, sample_summaries(game, profile, 2**40, TRAJECTORIES), torch.cat(stretches)


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
    parser.add_argument("--part", choices=["all", "reward", "half_cheetah", "preferences"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000, help="steps of a run from preferences")
    parser.add_argument("--on-policy", type=int, default=100_000, help="steps of an on-policy run from rewards")
    parser.add_argument("--off-policy", type=int, default=10_000, help="steps of an off-policy run from rewards")
    parser.add_argument("--half-cheetah", type=int, default=300_000, help="steps of a run on HalfCheetah-v5")
    parser.add_argument("--methods", nargs="+", default=list(PENDULUM_METHODS), choices=list(PENDULUM_METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # not on every system
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = []
    if options.part != "preferences":
        require_peers(["sb3"])
    if options.part in ("all", "reward"):
        methods = {name: PENDULUM_METHODS[name] for name in options.methods}
        rows += compare_by_reward(methods, options.seeds, {"ppo": options.on_policy, "sac": options.off_policy})
    if options.part == "half_cheetah":
        rows += compare_by_reward(CHEETAH_METHODS, options.seeds, {"ppo": options.half_cheetah})
    if options.part in ("all", "preferences"):
        rows += compare_by_preference(options.seeds, options.steps)
    print_table("continuous control", "peer", rows)
    print(format_json("control_learning", rows))


if __name__ == "__main__":
    main()
