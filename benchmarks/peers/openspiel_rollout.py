"""Measures decisions per CPU-second of OpenSpiel's rl_environment with uniformly random actions.

Called by `benchmarks/rollout_speed.py` with the Python of the peer's environment: `openspiel_rollout.py GAME SECONDS
[COPIES]`. Without a number of copies one game is played; with one, as many in OpenSpiel's vector_env. Prints one line
of JSON.
"""

import json
import random
import sys
import time

from open_spiel.python import rl_environment
from open_spiel.python.rl_agent import StepOutput
from open_spiel.python.vector_env import SyncVectorEnv


def draw(observation) -> int:
    """Returns a random legal action of the player who moves."""
    seen = observation.observations
    return random.choice(seen["legal_actions"][seen["current_player"]])


def measure_one(name: str, seconds: float) -> float:
    """Returns decisions per CPU-second of one environment."""
    env = rl_environment.Environment(name)
    observation, decisions, start = env.reset(), 0, time.process_time()
    while time.process_time() < start + seconds:
        if observation.last():
            observation = env.reset()
        observation = env.step([draw(observation)])
        decisions += 1
    return decisions / (time.process_time() - start)


def measure_vector(name: str, seconds: float, copies: int) -> float:
    """Returns decisions per CPU-second of a vector of environments."""
    env = SyncVectorEnv([rl_environment.Environment(name) for _ in range(copies)])
    observations, decisions, start = env.reset(), 0, time.process_time()
    while time.process_time() < start + seconds:
        actions = [StepOutput(action=draw(each), probs=None) for each in observations]
        observations, *_ = env.step(actions, reset_if_done=True)
        decisions += copies
    return decisions / (time.process_time() - start)


def main(name: str, seconds: str, copies: str = "") -> None:
    """Prints the speed as a line of JSON."""
    speed = measure_vector(name, float(seconds), int(copies)) if copies else measure_one(name, float(seconds))
    print(json.dumps({"decisions": speed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
