"""Measures steps per CPU-second of RLlib's environment runner on a PettingZoo environment.

Called by `pettingzoo_speed.py` with the Python of the peer's environment: `rllib_steps.py MODULE`. The runner steps
COPIES copies in this process, with actions sampled from one network of two layers of 64 units for all agents. A step
moves all agents. Answers each line of its input, a number of seconds, with a line of JSON.
"""

import json
import os
import sys
import time
import warnings
from importlib import import_module
from typing import Any

COPIES, STRETCH = 8, 200  # steps of all copies in a sample


def make_runner(module: str) -> Any:
    """Returns the runner of an environment."""
    import torch
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    torch.set_num_threads(1)
    register_env("peer", lambda _: ParallelPettingZooEnv(import_module(module).parallel_env()))
    config = (
        PPOConfig()
        .environment("peer")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=COPIES)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *_, **__: "shared")
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
    )
    return MultiAgentEnvRunner(config=config, worker_index=0)


def measure(runner: Any, seconds: float) -> float:
    """Returns steps of one environment per CPU-second."""
    total, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        total += sum(episode.env_steps() for episode in runner.sample(num_timesteps=STRETCH, random_actions=False))
    return total / (time.process_time() - start)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    answers, sys.stdout = sys.stdout, sys.stderr  # Ray prints, too
    peer = make_runner(sys.argv[1])
    measure(peer, 0.1)
    for line in sys.stdin:
        print(json.dumps({"steps": measure(peer, float(line))}), file=answers, flush=True)
