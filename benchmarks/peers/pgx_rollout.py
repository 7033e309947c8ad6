"""Measures decisions per CPU-second of Pgx's Leduc Hold'em, compiled and batched, with uniformly random legal actions.

Called by `benchmarks/rollout_speed.py` with the Python of the peer's environment:
`pgx_rollout.py COPIES TURNS SECONDS`. Prints one line of JSON. The loop over turns is compiled, and returns everything
that a learner needs.
"""

import json
import os
import sys
import time

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import pgx  # noqa: E402
from pgx.experimental import auto_reset  # noqa: E402


def main(copies: int, turns: int, seconds: float) -> None:
    """Prints the speed as a line of JSON."""
    env = pgx.make("leduc_holdem")
    step = jax.vmap(auto_reset(env.step, env.init))

    def turn(state, key):
        draw, chance = jax.random.split(key)
        logits = jnp.where(state.legal_action_mask, 0.0, -jnp.inf)
        action = jax.random.categorical(draw, logits)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        next_state = step(state, action, jax.random.split(chance, copies))
        decision = (state.observation, state.legal_action_mask, state.current_player, action, log_prob)
        return next_state, (*decision, next_state.rewards, next_state.terminated)

    play = jax.jit(lambda state, key: jax.lax.scan(turn, state, jax.random.split(key, turns)))
    state = jax.jit(jax.vmap(env.init))(jax.random.split(jax.random.key(0), copies))
    state, _ = jax.block_until_ready(play(state, jax.random.key(1)))
    calls, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        state, _ = jax.block_until_ready(play(state, jax.random.key(calls + 2)))
        calls += 1
    print(json.dumps({"decisions": calls * turns * copies / (time.process_time() - start)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
