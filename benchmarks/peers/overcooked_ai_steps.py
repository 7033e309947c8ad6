"""Measures steps per second of overcooked-ai with its lossless encoding for both seats, with uniformly random actions.

Called by `benchmarks/overcooked_speed.py` with the Python of the peer's environment:
`overcooked_ai_steps.py LAYOUT SECONDS`. Prints one line of JSON.
"""

import json
import random
import sys
import time

from overcooked_ai_py.mdp.actions import Action
from overcooked_ai_py.mdp.overcooked_env import OvercookedEnv
from overcooked_ai_py.mdp.overcooked_mdp import OvercookedGridworld

HORIZON = 400  # steps
WARM_UP = 20  # steps before the clock starts; the first one plans routes, which are cached


def play(mdp: OvercookedGridworld, env: OvercookedEnv) -> None:
    """Plays one step, encodes the state for both seats, and starts a new game if the game is done."""
    state, _, done, _ = env.step(tuple(random.choices(Action.ALL_ACTIONS, k=2)))
    mdp.lossless_state_encoding(state, HORIZON)
    if done:
        env.reset(regen_mdp=False)


def measure(layout: str, seconds: float) -> float:
    """Returns steps per second, of one game after another."""
    mdp = OvercookedGridworld.from_layout_name(layout)
    env = OvercookedEnv.from_mdp(mdp, horizon=HORIZON, info_level=0)
    for _ in range(WARM_UP):
        play(mdp, env)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        play(mdp, env)
        steps += 1
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    print(json.dumps({"steps_per_second": measure(sys.argv[1], float(sys.argv[2]))}))
