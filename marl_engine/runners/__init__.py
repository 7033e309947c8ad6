"""Runners execute independent jobs."""

from marl_engine.runners.background import BackgroundRunner, overlapping
from marl_engine.runners.gang import Gang, GangRunner, Group, make_gang
from marl_engine.runners.local import LOCAL, LocalRunner
from marl_engine.runners.processes import ProcessRunner
from marl_engine.runners.ray import RayRunner
from marl_engine.runners.resident import Resident

__all__ = [
    "LOCAL",
    "BackgroundRunner",
    "Gang",
    "GangRunner",
    "Group",
    "LocalRunner",
    "ProcessRunner",
    "RayRunner",
    "Resident",
    "make_gang",
    "overlapping",
]
