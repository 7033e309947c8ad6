"""The constants and the state of a particle world, for the compiled rules.

Entities are numbered, with the P agents before the landmarks. A world is a row of float64 numbers: the position (x, y)
of each entity, the velocity of each agent, and the message of each agent (C numbers). It also has integers: its clock,
the number of earlier episodes, and the landmarks that are the goals of the first two seats.
"""

from typing import NamedTuple

import numpy as np

from marl_engine.numerics.jit import compile_inline

VELOCITY, POSITION, LANDMARKS, OTHERS, PREY, GOAL, MESSAGES = range(7)
"""What an agent may observe, in this order: its velocity, its position, the offsets of landmarks and of other agents,
the velocities of other agents that are hunted, the colour of its goal, the messages of other agents."""
SPREAD, TAG, REFERENCE, LISTENER = range(4)
"""How rewards are computed."""
CLOCK, OPENINGS, GOALS = range(3)
"""Indices of the integers of a world; there are two goals."""
INTEGERS = 4
MOVES = 5
"""Movement actions of an agent: none, left, right, down, up."""


class World(NamedTuple):
    """The constants of a scenario; see `scenarios`."""

    agents: int  # P
    solid: int  # number of entities that collide: the first ones
    radius: np.ndarray  # (E,) float64, for each entity
    start: np.ndarray  # (E,) float64: half width of the square in which an entity starts
    strength: np.ndarray  # (P,) float64: force of a movement action
    top_speed: np.ndarray  # (P,) float64
    moves: np.ndarray  # (P,) bool
    speaks: np.ndarray  # (P,) bool
    sees: np.ndarray  # (P, 7) bool: VELOCITY ... MESSAGES
    colours: np.ndarray  # (landmarks, 3) float64
    words: int  # C: words of the language, and length of a message
    goals: int  # number of seats that have a goal: the first ones
    hunters: int  # number of agents that hunt the others: the first ones
    rewards: int  # SPREAD ... LISTENER
    local_ratio: float  # weight of an agent's own reward; that of the team has the rest
    terminates: bool  # an episode of SPREAD is over when all landmarks are covered
    max_cycles: int  # steps of an episode


@compile_inline
def velocities_of(world):
    """Returns the index of a row where velocities begin."""
    return 2 * world.radius.size


@compile_inline
def messages_of(world):
    """Returns the index of a row where messages begin."""
    return 2 * world.radius.size + 2 * world.agents


@compile_inline
def distance(row, one, other):
    """Returns the distance of two entities."""
    across, up = row[2 * one] - row[2 * other], row[2 * one + 1] - row[2 * other + 1]
    return np.sqrt(across * across + up * up)


@compile_inline
def touches(world, row, one, other):
    """Whether two entities overlap."""
    return distance(row, one, other) < world.radius[one] + world.radius[other]
