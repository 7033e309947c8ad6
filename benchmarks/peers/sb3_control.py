"""Trains Stable-Baselines3 on Pendulum-v1 on one thread, with the hyperparameters of its authors (rl-baselines3-zoo).

Called by `benchmarks/control_learning.py` with the Python of the peer's environment: `sb3_control.py ppo|sac SEED
STEPS`. Prints one line of JSON: the mean return of greedy play, and the seconds of training.
"""

import json
import sys
import time

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

PPO_SETTINGS = {
    "gamma": 0.9,
    "n_steps": 1024,
    "n_epochs": 10,
    "ent_coef": 0.0,
    "learning_rate": 1e-3,
    "use_sde": True,
    "sde_sample_freq": 4,
}
EPISODES = 64


def main(algorithm: str, seed: int, steps: int) -> None:
    """Prints the result as a line of JSON."""
    torch.set_num_threads(1)
    if algorithm == "ppo":
        model = PPO("MlpPolicy", make_vec_env("Pendulum-v1", 4, seed=seed), seed=seed, device="cpu", **PPO_SETTINGS)
    else:
        model = SAC("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, seed=seed, device="cpu")
    start = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - start
    tasks = make_vec_env("Pendulum-v1", 8, seed=10_000)
    mean, _ = evaluate_policy(model, tasks, n_eval_episodes=EPISODES, deterministic=True)
    print(json.dumps({"return": float(mean), "seconds": seconds, "steps": model.num_timesteps}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(float(sys.argv[3])))
