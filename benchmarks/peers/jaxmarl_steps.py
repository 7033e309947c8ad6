"""Measures the speed of a JaxMARL environment, compiled and batched, with uniformly random actions.

Called by `overcooked_speed.py` and `mpe_speed.py` with the Python of the peer's environment:
`jaxmarl_steps.py NAME SECONDS`; the name is that of a layout of Overcooked, or of another environment. Prints one line
of JSON: the best batch size, its steps per second and per CPU-second (of all threads), and the seconds that its
compilation took.

The loop over steps is compiled too. Its carry contains the observations, so that every step computes them. Games are
stepped as in JaxMARL's training scripts, by `env.step(key, state, actions)`. With a fixed initial state as a fourth
argument, which none of its scripts uses, Overcooked is 1.4 to 1.6 times as fast.
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

BATCHES = (64, 512, 1024, 4096)
GAME_STEPS = 32768  # of all games together, in one call of the compiled loop


def loop(env: Any) -> Callable:
    """Returns a function that plays actions, (T, B) for each agent, from a carry.

    The carry consists of states, observations (B, ...) and a random key.
    """

    def turn(carry: tuple, actions: dict[str, jax.Array]) -> tuple:
        states, _, key = carry
        key, draw = jax.random.split(key)
        keys = jax.random.split(draw, len(actions[env.agents[0]]))
        observation, states, reward, done, _ = jax.vmap(env.step)(keys, states, actions)
        return (states, observation, key), (reward, done["__all__"])

    return jax.jit(lambda carry, actions: jax.lax.scan(turn, carry, actions))


def draw_actions(env: Any, games: int) -> dict[str, jax.Array]:
    """Returns random actions (T, B) for each agent."""
    keys = jax.random.split(jax.random.key(1), len(env.agents))
    return {
        agent: jax.random.randint(key, (GAME_STEPS // games, games), 0, env.action_space(agent).n)
        for agent, key in zip(env.agents, keys, strict=True)
    }


def measure(env: Any, observation: Any, state: Any, games: int, seconds: float) -> dict[str, float]:
    """Returns speed and compile time at one batch size, from the initial observation and state of a game."""
    actions = draw_actions(env, games)
    states, observation = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], games, axis=0), (state, observation))
    carry = (states, observation, jax.random.key(2))
    start = time.perf_counter()
    play = loop(env).lower(carry, actions).compile()
    compile_seconds = time.perf_counter() - start
    carry, _ = jax.block_until_ready(play(carry, actions))
    calls, start, cpu_start = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < start + seconds:
        carry, _ = jax.block_until_ready(play(carry, actions))
        calls += 1
    steps, cpu_seconds = calls * GAME_STEPS, time.process_time() - cpu_start
    return {
        "steps_per_second": steps / (time.perf_counter() - start),
        "steps_per_cpu_second": steps / cpu_seconds,
        "games": games,
        "compile_seconds": compile_seconds,
    }


def main(name: str, seconds: float) -> None:
    """Prints the result of the best batch size; the sizes share the seconds."""
    layout = overcooked_layouts.get(name)
    env = jaxmarl.make(name) if layout is None else jaxmarl.make("overcooked", layout=layout)
    observation, state = env.reset(jax.random.key(0))
    results = [measure(env, observation, state, games, seconds / len(BATCHES)) for games in BATCHES]
    print(json.dumps(max(results, key=lambda result: result["steps_per_second"])))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
