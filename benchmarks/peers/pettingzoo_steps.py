"""Measures steps per CPU-second of a PettingZoo environment, with random actions, with and without SuperSuit.

Called by `pettingzoo_speed.py` and `mpe_speed.py` with the Python of the peer's environment:
`pettingzoo_steps.py plain|supersuit MODULE`. A step moves all agents, or one where agents move in turn. Answers each
line of its input, a number of seconds, with a line of JSON.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any

import numpy as np

WARM_UP, DRAWS = 50, 64  # steps before the clock starts, and joint actions that are drawn in advance and repeated
COPIES = 8  # of SuperSuit


def step_together(env: Any) -> Iterator[int]:
    """Steps a parallel environment without end, and resets it where an episode is over."""
    env.reset(seed=0)
    actions = [{agent: int(env.action_space(agent).sample()) for agent in env.agents} for _ in range(DRAWS)]
    while True:
        for each in actions:
            env.step(each)
            if not env.agents:
                env.reset()
            yield 1


def step_in_turn(env: Any) -> Iterator[int]:
    """Steps an environment whose agents move in turn."""
    while True:
        env.reset()
        for agent in env.agent_iter():
            observation, _, over, cut, _ = env.last()
            env.step(None if over or cut else env.action_space(agent).sample(observation["action_mask"]))
            yield int(not (over or cut))


def step_vectors(env: Any) -> Iterator[int]:
    """Steps SuperSuit's vector environment of COPIES copies, which restart by themselves."""
    import supersuit

    vectors = supersuit.concat_vec_envs_v1(supersuit.pettingzoo_env_to_vec_env_v1(env), COPIES, 0, "gymnasium")
    vectors.reset(seed=0)
    random = np.random.default_rng(0)
    actions = random.integers(env.action_space(env.possible_agents[0]).n, size=(DRAWS, vectors.num_envs))
    while True:
        for each in actions:
            vectors.step(each)
            yield COPIES


def play(way: str, module: str) -> Iterator[int]:
    """Plays without end; yields numbers of steps."""
    parts = vars(import_module(module))
    if "parallel_env" not in parts:
        return step_in_turn(parts["env"]())
    return (step_vectors if way == "supersuit" else step_together)(parts["parallel_env"]())


def measure(steps: Iterator[int], seconds: float) -> float:
    """Returns steps of one environment per CPU-second."""
    total, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        total += next(steps)
    return total / (time.process_time() - start)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    endless = play(*sys.argv[1:])
    list(islice(endless, WARM_UP))
    for line in sys.stdin:
        print(json.dumps({"steps": measure(endless, float(line))}), flush=True)
