"""The rules of Overcooked on a GPU. Each thread steps one kitchen with the same functions as on the CPU."""

from numba import cuda

from games.overcooked.rules import observe, step


@cuda.jit
def step_games(kitchen, rows, actions, observation, reward, shaping, done):
    """Steps B games on the GPU, called as `step_games[blocks, threads](...)`; see `rules.step_games`."""
    game = cuda.grid(1)
    if game < rows.shape[0]:
        payoff, over = step(kitchen, rows[game], actions[game], shaping[game])
        done[game] = over
        for seat in range(len(kitchen.cooks)):
            reward[game, seat] = payoff
        observe(kitchen, rows[game], observation[game])
