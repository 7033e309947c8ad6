"""Measures steps per CPU-second of JaxMARL's particle worlds, compiled and batched, with uniformly random actions.

Called by `benchmarks/mpe_speed.py` with the Python of the peer's environment: `jaxmarl_mpe_steps.py SCENARIO SECONDS`.
Prints one line of JSON: the best number of worlds, and its speed.

The loop over steps is compiled too. Its carry contains the observations, so that every step computes them.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jaxmarl

NAMES = {
    "simple_spread": "MPE_simple_spread_v3",
    "simple_tag": "MPE_simple_tag_v3",
    "simple_reference": "MPE_simple_reference_v3",
    "simple_speaker_listener": "MPE_simple_speaker_listener_v4",
}
BATCHES = (64, 1024, 4096)
WORLD_STEPS = 32768  # of all worlds together, in one call of the compiled loop


def loop(env: Any) -> Callable:
    """Returns a function that plays actions from a carry: observations and states of all worlds, and a random key."""

    def turn(carry: tuple, actions: dict[str, jax.Array]) -> tuple:
        _, states, key = carry
        key, draw = jax.random.split(key)
        keys = jax.random.split(draw, len(next(iter(actions.values()))))
        observation, states, reward, done, _ = jax.vmap(env.step)(keys, states, actions)
        return (observation, states, key), (reward, done["__all__"])

    return jax.jit(lambda carry, actions: jax.lax.scan(turn, carry, actions))


def measure(env: Any, worlds: int, seconds: float) -> dict[str, float]:
    """Returns the speed of a number of worlds."""
    keys = jax.random.split(jax.random.key(1), len(env.agents))
    actions = {
        agent: jax.random.randint(key, (WORLD_STEPS // worlds, worlds), 0, env.action_space(agent).n)
        for agent, key in zip(env.agents, keys, strict=True)
    }
    carry = (*jax.vmap(env.reset)(jax.random.split(jax.random.key(0), worlds)), jax.random.key(2))
    play = loop(env)
    carry, _ = jax.block_until_ready(play(carry, actions))
    calls, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        carry, _ = jax.block_until_ready(play(carry, actions))
        calls += 1
    return {"steps": calls * WORLD_STEPS / (time.process_time() - start), "worlds": worlds}


def main(scenario: str, seconds: float) -> None:
    """Prints the result of the best number of worlds; the numbers share the seconds."""
    env = jaxmarl.make(NAMES[scenario])
    results = [measure(env, worlds, seconds / len(BATCHES)) for worlds in BATCHES]
    print(json.dumps(max(results, key=lambda result: result["steps"])))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
