"""Trains Stable-Baselines3 on one thread, with the hyperparameters of its authors (rl-baselines3-zoo).

Called by `benchmarks/control_learning.py` with the Python of the peer's environment: `sb3_control.py ppo|sac TASK SEED
STEPS`. Prints one line of JSON: the mean return of greedy play, and the seconds of wall and of CPU time of training.
"""

import json
import sys
import time
from typing import Any

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "Pendulum-v1"): {
        "gamma": 0.9,
        "n_steps": 1024,
        "n_epochs": 10,
        "ent_coef": 0.0,
        "learning_rate": 1e-3,
        "use_sde": True,
        "sde_sample_freq": 4,
    },
    ("ppo", "HalfCheetah-v5"): {
        "gamma": 0.98,
        "n_steps": 512,
        "batch_size": 64,
        "n_epochs": 20,
        "ent_coef": 0.000401762,
        "learning_rate": 2.0633e-05,
        "clip_range": 0.1,
        "gae_lambda": 0.92,
        "max_grad_norm": 0.8,
        "vf_coef": 0.58096,
        "policy_kwargs": {
            "log_std_init": -2,
            "ortho_init": False,
            "activation_fn": torch.nn.ReLU,
            "net_arch": {"pi": [256, 256], "vf": [256, 256]},
        },
    },
    ("sac", "Pendulum-v1"): {"learning_rate": 1e-3},
    ("sac", "HalfCheetah-v5"): {"learning_starts": 10_000},
}
COPIES = {("ppo", "Pendulum-v1"): 4}
NORMALISED = {("ppo", "HalfCheetah-v5")}  # observations and rewards, by their running statistics
EPISODES = {"Pendulum-v1": 64, "HalfCheetah-v5": 16}


def make_evaluation(task: str, training: VecEnv) -> VecEnv:
    """Returns eight tasks with the seeds that the benchmark uses too, normalised like those of training."""
    tasks = make_vec_env(task, 8, seed=10_000)
    if not isinstance(training, VecNormalize):
        return tasks
    normalised = VecNormalize(tasks, training=False, norm_reward=False)
    normalised.obs_rms = training.obs_rms
    return normalised


def main(algorithm: str, task: str, seed: int, steps: int) -> None:
    """Prints the result as a line of JSON."""
    torch.set_num_threads(1)
    tasks = make_vec_env(task, COPIES.get((algorithm, task), 1), seed=seed)
    settings = SETTINGS[algorithm, task]
    if (algorithm, task) in NORMALISED:
        tasks = VecNormalize(tasks, gamma=settings["gamma"])
    kind = {"ppo": PPO, "sac": SAC}[algorithm]
    model = kind("MlpPolicy", tasks, seed=seed, device="cpu", **settings)
    start, cpu_start = time.perf_counter(), time.process_time()
    model.learn(steps)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    mean, _ = evaluate_policy(model, make_evaluation(task, tasks), n_eval_episodes=EPISODES[task], deterministic=True)
    result = {"return": float(mean), "seconds": seconds, "cpu_seconds": cpu_seconds, "steps": model.num_timesteps}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(float(sys.argv[4])))
