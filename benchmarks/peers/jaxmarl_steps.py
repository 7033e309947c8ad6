"""Measures steps per second of JaxMARL's Overcooked, compiled and batched, with uniformly random actions.

Called by `benchmarks/overcooked_speed.py` with the Python of the peer's environment: `jaxmarl_steps.py LAYOUT SECONDS`.
Prints one line of JSON: the best batch size, its speed, and the seconds that its compilation took.

The loop over steps is compiled too. Its carry contains the observations, so that every step computes them. Games are
stepped as in JaxMARL's training scripts, by `env.step(key, state, actions)`. With a fixed initial state as a fourth
argument, which none of its scripts uses, it is 1.4 to 1.6 times as fast.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl
from jaxmarl.environments.overcooked import overcooked_layouts

BATCHES = (64, 512, 4096)
GAME_STEPS = 32768  # of all games together, in one call of the compiled loop


def loop(env: Any) -> Callable:
    """Returns a function that plays actions (T, B, 2) from a carry: states, observations (B, ...), a random key."""

    def step(key: jax.Array, state: Any, actions: jax.Array) -> tuple:
        return env.step(key, state, {"agent_0": actions[0], "agent_1": actions[1]})

    def turn(carry: tuple, actions: jax.Array) -> tuple:
        states, _, key = carry
        key, draw = jax.random.split(key)
        observation, states, reward, done, _ = jax.vmap(step)(jax.random.split(draw, len(actions)), states, actions)
        return (states, observation, key), (reward["agent_0"], done["__all__"])

    return jax.jit(lambda carry, actions: jax.lax.scan(turn, carry, actions))


def measure(env: Any, observation: Any, state: Any, games: int, seconds: float) -> dict[str, float]:
    """Returns speed and compile time at one batch size, from the initial observation and state of a game."""
    actions = jax.random.randint(jax.random.key(1), (GAME_STEPS // games, games, 2), 0, 6)
    states, observation = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], games, axis=0), (state, observation))
    carry = (states, observation, jax.random.key(2))
    start = time.perf_counter()
    play = loop(env).lower(carry, actions).compile()
    compile_seconds = time.perf_counter() - start
    carry, _ = jax.block_until_ready(play(carry, actions))
    calls, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        carry, _ = jax.block_until_ready(play(carry, actions))
        calls += 1
    speed = calls * actions.shape[0] * games / (time.perf_counter() - start)
    return {"steps_per_second": speed, "games": games, "compile_seconds": compile_seconds}


def main(layout: str, seconds: float) -> None:
    """Prints the result of the best batch size; the sizes share the seconds."""
    env = jaxmarl.make("overcooked", layout=overcooked_layouts[layout])
    observation, state = env.reset(jax.random.key(0))
    results = [measure(env, observation, state, games, seconds / len(BATCHES)) for games in BATCHES]
    print(json.dumps(max(results, key=lambda result: result["steps_per_second"])))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
