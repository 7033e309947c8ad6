"""Measures RLlib's PPO on Overcooked: steps of the game per second, over whole training iterations.

Called by `rllib_compare.py` with the Python of the peer's environment: `rllib_ppo.py LAYOUT RUNNERS`. RUNNERS is the
number of environment runners; with 0 the process steps the games itself. Answers each line of its input, a number of
seconds, with a line of JSON.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

COPIES, BATCH, MINIBATCH, EPOCHS = 64, 4096, 2048, 4


def make_algorithm(
    make_kitchen: Callable[[], Any], runners: int, seed: int | None = None, settings: Mapping[str, Any] | None = None
) -> Any:
    """Returns PPO with one network of two layers of 64 units for both cooks, and one for their critic.

    `settings` are arguments of RLlib's `PPOConfig.training`.
    """
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.tune.registry import register_env

    ray.init(address="local", num_cpus=runners + 1, include_dashboard=False, log_to_driver=False)
    register_env("kitchen", lambda _: make_kitchen())
    config = (
        PPOConfig()
        .environment("kitchen")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=COPIES // max(runners, 1))
        .training(train_batch_size_per_learner=BATCH, minibatch_size=MINIBATCH, num_epochs=EPOCHS, **(settings or {}))
        .debugging(seed=seed)
        .multi_agent(policies={"cook"}, policy_mapping_fn=lambda *_, **__: "cook")
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], vf_share_layers=False))
    )
    return config.build_algo()


def make_kitchen(layout: str) -> Any:
    """Returns the game as an environment of RLlib."""
    from games.overcooked import Overcooked
    from games.rllib import to_rllib

    return to_rllib(Overcooked(layout), flat=True, shaping=1.0)


def tree_time() -> float:
    """Returns the CPU-seconds of this process and the workers that it has started."""
    ticks, parents = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(name)], ticks[int(name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {os.getpid()}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(ticks.get(each, 0) for each in family) / os.sysconf("SC_CLK_TCK")


def measure(algorithm: Any, seconds: float) -> dict[str, float]:
    """Returns steps per CPU-second and per second, over as many iterations as begin within `seconds` of CPU time."""
    steps, busy, start = 0, tree_time(), time.perf_counter()
    while not steps or tree_time() < busy + seconds:
        steps += algorithm.train()["env_runners"]["num_env_steps_sampled"]
    return {"cpu": steps / (tree_time() - busy), "wall": steps / (time.perf_counter() - start)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # Ray prints, too
    peer = make_algorithm(partial(make_kitchen, sys.argv[1]), int(sys.argv[2]))
    peer.train()
    for line in sys.stdin:
        print(json.dumps(measure(peer, float(line))), file=answers, flush=True)
