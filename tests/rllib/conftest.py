"""One Ray for all tests of RLlib, which starts slowly."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_ray():
    """Starts Ray, unless RLlib is missing: the tests say so themselves."""
    try:
        import ray
        import ray.rllib.algorithms.ppo
    except ImportError:
        yield
        return
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
