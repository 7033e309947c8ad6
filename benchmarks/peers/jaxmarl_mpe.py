"""Runs JaxMARL's own training script of particle worlds with its defaults, except for the number of steps.

    .peers/jaxmarl/bin/python benchmarks/peers/jaxmarl_mpe.py CHECKOUT WORLD SEED STEPS

Called by mpe_learning.py. Prints one line of JSON: the mean returns of an agent in the first and in the last iteration,
with sampled actions, and the CPU seconds of the process.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import jax
import wandb
from omegaconf import OmegaConf

checkout, world, seed, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
folder = checkout / "baselines" / "IPPO"
spec = importlib.util.spec_from_file_location("script", folder / "ippo_ff_mpe.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

returns: list[float] = []
wandb.log = lambda metrics: returns.append(float(metrics["returned_episode_returns"]))  # called in every iteration
config = OmegaConf.to_container(OmegaConf.load(folder / "config" / "ippo_ff_mpe.yaml"))
config |= {"ENV_NAME": f"MPE_{world}", "TOTAL_TIMESTEPS": steps}
jax.block_until_ready(jax.jit(script.make_train(config))(jax.random.PRNGKey(seed)))
agents = script.jaxmarl.make(f"MPE_{world}").num_agents  # by which its log multiplies returns
result = {"first": returns[0] / agents, "return": returns[-1] / agents, "cpu_seconds": time.process_time()}
print(json.dumps(result))
