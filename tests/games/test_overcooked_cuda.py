"""The CUDA kernel of Overcooked without a GPU: numba compiles it, and in the simulator it gives the same results."""

import os
import subprocess
import sys
from pathlib import Path

STEPPED = """
import numpy as np
import torch
from games.overcooked import Overcooked
from games.overcooked.cuda import step_games

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


COMPILED = """
from types import SimpleNamespace
import numba.cuda.cudadrv.nvvm as nvvm
from numba import typeof, types
from numba.cuda import dispatcher
from numba.cuda.compiler import compile_cuda
from games.overcooked import Overcooked, cuda

# What comes after numba, from its LLVM to the GPU's own code, is NVIDIA's library, of which numba asks here these two.
nvvm.NVVM = lambda: SimpleNamespace(data_layout=nvvm._datalayout_i128, get_ir_version=lambda: (2, 0, 3, 1))
dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
array = types.Array
arrays = [array(types.uint16, 2, "C"), array(types.int64, 2, "C"), array(types.uint8, 3, "C")]
arrays += [array(types.float32, 2, "C")] * 2 + [array(types.boolean, 1, "C")]
kitchen = typeof(Overcooked("cramped_room").kitchen)
made = compile_cuda(cuda.step_games.py_func, types.void, (kitchen, *arrays), cc=(9, 0))
assert made.signature.args == (kitchen, *arrays)
print("compiled")
"""


def run_code(code, **environment):
    """Returns what a process prints."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    return process.stdout.strip() or process.stderr


def test_the_kernel_equals_the_cpu():
    assert run_code(STEPPED, NUMBA_ENABLE_CUDASIM="1", NUMBA_DISABLE_JIT="1") == "equal"


def test_numba_compiles_the_kernel_for_a_gpu():
    assert run_code(COMPILED) == "compiled"
