"""The rewards of the particle worlds, as in mpe2 1.1.1."""

import numpy as np

from games.mpe.world import REFERENCE, SPREAD, TAG, distance, touches
from marl_engine.numerics.jit import compile_inline

COVERED = 0.1
"""Distance at which an agent covers a landmark."""
CATCH = 10.0
"""Reward of each hunter, and cost of the prey, for a contact."""


@compile_inline
def pay_spread(world, row, reward):
    """Writes rewards (P,): minus the distance from each landmark to the nearest agent, and minus own collisions.

    Returns whether the episode is over because all landmarks are covered.
    """
    team, covered = 0.0, True
    for landmark in range(world.agents, world.radius.size):
        nearest = distance(row, 0, landmark)
        for agent in range(1, world.agents):
            nearest = min(nearest, distance(row, agent, landmark))
        team -= nearest
        covered &= nearest < COVERED
    for agent in range(world.agents):
        collisions = 0
        for other in range(world.agents):
            collisions += (other != agent) & touches(world, row, agent, other)
        reward[agent] = team * (1 - world.local_ratio) - collisions * world.local_ratio
    return covered & world.terminates


@compile_inline
def leaving_cost(coordinate):
    """Returns what the prey pays for being near or beyond the border at 1."""
    outward = abs(coordinate)
    if outward < 0.9:
        return 0.0
    if outward < 1.0:
        return (outward - 0.9) * 10
    return min(np.exp(2 * outward - 2), 10.0)


@compile_inline
def pay_tag(world, row, reward):
    """Writes rewards (P,): all hunters earn each catch, which costs the prey; the prey pays for leaving, too."""
    total = 0.0
    for prey in range(world.hunters, world.agents):
        cost = 0.0
        for hunter in range(world.hunters):
            cost += CATCH * touches(world, row, hunter, prey)
        total += cost
        reward[prey] = -cost - leaving_cost(row[2 * prey]) - leaving_cost(row[2 * prey + 1])
    for hunter in range(world.hunters):
        reward[hunter] = total


@compile_inline
def pay_reference(world, row, goals, reward):
    """Writes rewards (2,): minus the other agent's distance from this agent's goal, and the mean of both."""
    one, two = distance(row, 1, world.agents + goals[0]), distance(row, 0, world.agents + goals[1])
    team = -(one + two) / 2 * (1 - world.local_ratio)
    reward[0], reward[1] = team - one * world.local_ratio, team - two * world.local_ratio


@compile_inline
def pay_listener(world, row, goals, reward):
    """Writes rewards (2,): minus the squared distance of the listener, seat 1, from the speaker's goal."""
    apart = distance(row, 1, world.agents + goals[0])
    reward[0] = reward[1] = -apart * apart


@compile_inline
def pay(world, row, goals, reward):
    """Writes rewards (P,); returns whether the episode is over."""
    if world.rewards == SPREAD:
        return pay_spread(world, row, reward)
    if world.rewards == TAG:
        pay_tag(world, row, reward)
    elif world.rewards == REFERENCE:
        pay_reference(world, row, goals, reward)
    else:
        pay_listener(world, row, goals, reward)
    return False
