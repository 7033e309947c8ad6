"""Ray, started once for all tests here."""

import gc

import pytest

pytest.importorskip("ray", reason="there is no Ray: make ray-test installs it")

import ray

from marl_engine.runners.ray import RayRunner, connect


@pytest.fixture(scope="session", autouse=True)
def cluster():
    """A cluster on this machine for up to eight workers, which wait most of the time."""
    connect(None, 8)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def free_workers():
    """Ends the actors of runners that are gone; commands freeze what they find, which then is not collected."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.fixture(scope="session")
def one():
    return RayRunner(1)


@pytest.fixture(scope="session")
def two():
    return RayRunner(2)


@pytest.fixture
def four():
    """Four workers that share a processor."""
    return RayRunner(4, num_cpus=0.25)
