"""Measures decisions per CPU-second of OpenSpiel's rl_environment, one game at a time, with uniformly random actions.

Called by `benchmarks/rollout_speed.py` with the Python of the peer's environment: `openspiel_rollout.py GAME SECONDS`.
Prints one line of JSON.
"""

import json
import random
import sys
import time

from open_spiel.python import rl_environment


def main(name: str, seconds: float) -> None:
    """Prints the speed as a line of JSON."""
    env = rl_environment.Environment(name)
    observation, decisions, start = env.reset(), 0, time.process_time()
    while time.process_time() < start + seconds:
        if observation.last():
            observation = env.reset()
        player = observation.observations["current_player"]
        observation = env.step([random.choice(observation.observations["legal_actions"][player])])
        decisions += 1
    print(json.dumps({"decisions": decisions / (time.process_time() - start)}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
