"""The CUDA kernel of Overcooked, on numba's simulator where there is no GPU: it steps as the processor does."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import numpy as np
import torch
from games.overcooked import Overcooked
from games.overcooked.kernel import step_games

game = Overcooked("cramped_room", horizon=25)
game.reset(torch.arange(5))
rows = game.rows.numpy().view(np.uint16).copy()
generator = np.random.default_rng(0)
for step in range(60):
    actions = generator.choice(6, size=(5, 2), p=[0.1, 0.1, 0.2, 0.2, 0.1, 0.3])
    turn = game.step(torch.from_numpy(actions))
    seen = np.empty((5, 2, game.kitchen.picture.shape[1]), np.uint8)
    reward, shaping, done = np.empty((5, 2), np.float32), np.empty((5, 2), np.float32), np.empty(5, np.bool_)
    step_games[2, 3](game.kitchen, rows, actions, seen, reward, shaping, done)
    assert np.array_equal(rows.view(np.int16), game.rows.numpy())
    assert np.array_equal(seen, turn.observation.flatten(2).numpy())
    assert np.array_equal(reward, turn.reward.numpy()) and np.array_equal(shaping, turn.shaping.numpy())
    assert np.array_equal(done, turn.done.numpy())
print("equal")
"""


def test_the_kernel_steps_as_the_processor_does():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    assert found.stdout.strip() == "equal", found.stderr
