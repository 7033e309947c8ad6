"""Common settings: one thread for torch, so that tests give the same results everywhere."""

import os

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)  # RLlib's environment has no xdist
def pytest_xdist_auto_num_workers(config):
    """Three processes for two cores, since many tests wait for commands, signals and servers."""
    return (os.cpu_count() or 1) * 3 // 2
