"""Runs JaxMARL's own training script with its defaults, and prints its log as JSON lines.

    .peers/jaxmarl/bin/python benchmarks/peers/jaxmarl_overcooked.py CHECKOUT LAYOUT SEED STEPS RETURN

The run ends after STEPS environment steps, or as soon as RETURN is reached. Called by overcooked_learning.py.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import jax
import wandb
from jaxmarl.environments.overcooked import overcooked_layouts
from omegaconf import OmegaConf

checkout, layout, seed, steps, target = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:6])
folder = checkout / "baselines" / "IPPO"
spec = importlib.util.spec_from_file_location("script", folder / "ippo_ff_overcooked.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def log(metrics, *_args, **_options):
    """Prints a log entry; replaces the function `log` of wandb."""
    step, mean_return = float(metrics["env_step"]), float(metrics["returned_episode_returns"])
    print(json.dumps({"time": time.time(), "steps": step, "return": mean_return}), flush=True)
    if step >= steps or mean_return >= target:
        os._exit(0)


wandb.log = log
config = OmegaConf.to_container(OmegaConf.load(folder / "config" / "ippo_ff_overcooked.yaml"))
config["ENV_KWARGS"] = {"layout": overcooked_layouts[layout]}
jax.vmap(jax.jit(script.make_train(config)))(jax.random.split(jax.random.PRNGKey(seed), 1))
