"""The rules of the particle worlds for one world, compiled once and run for B worlds.

Source: mpe2 1.1.1 (Lowe et al. 2017, arXiv:1706.02275; Mordatch and Abbeel 2018, arXiv:1703.04908), reproduced step for
step. `tests/games/test_mpe.py` replays recorded episodes. One difference: contact forces below 1e-18 are left out.
"""

import numpy as np

from games.mpe.rewards import pay
from games.mpe.world import (
    CLOCK,
    GOAL,
    GOALS,
    LANDMARKS,
    MESSAGES,
    MOVES,
    OPENINGS,
    OTHERS,
    POSITION,
    PREY,
    VELOCITY,
    distance,
    messages_of,
    velocities_of,
)
from marl_engine.numerics.jit import compile_inline, compile_loop
from marl_engine.numerics.rng import draw_uniform, mix_word

PERIOD, DAMPING = 0.1, 0.25
STIFFNESS, MARGIN = 100.0, 1e-3
"""A contact has a force of STIFFNESS times a smooth function of the overlap, with a transition of width MARGIN."""
FAR = 40.0
"""Number of margins beyond which entities do not push each other: exp(-FAR) * STIFFNESS * MARGIN is below 1e-18."""


@compile_inline
def softplus(number):
    """Returns log(1 + exp(number))."""
    return max(number, 0.0) + np.log1p(np.exp(-abs(number)))


@compile_inline
def push_apart(world, row, forces):
    """Adds the contact forces to forces (P, 2)."""
    for one in range(world.agents):
        for other in range(one + 1, world.solid):
            apart = distance(row, one, other)
            depth = (world.radius[one] + world.radius[other] - apart) / MARGIN
            if depth > -FAR:
                force = STIFFNESS * MARGIN * softplus(depth) / apart
                across, up = row[2 * one] - row[2 * other], row[2 * one + 1] - row[2 * other + 1]
                forces[one, 0] += force * across
                forces[one, 1] += force * up
                if other < world.agents:
                    forces[other, 0] -= force * across
                    forces[other, 1] -= force * up


@compile_inline
def move(world, row, forces):
    """Moves the agents by their velocities, then changes velocities by forces (P, 2). All masses are 1."""
    for agent in range(world.agents):
        if world.moves[agent]:
            place = velocities_of(world) + 2 * agent
            row[2 * agent] += row[place] * PERIOD
            row[2 * agent + 1] += row[place + 1] * PERIOD
            across = row[place] * (1 - DAMPING) + forces[agent, 0] * PERIOD
            up = row[place + 1] * (1 - DAMPING) + forces[agent, 1] * PERIOD
            speed = np.sqrt(across * across + up * up)
            if speed > world.top_speed[agent]:
                across, up = across / speed * world.top_speed[agent], up / speed * world.top_speed[agent]
            row[place], row[place + 1] = across, up


@compile_inline
def write_offset(row, seat, entity, view, place):
    """Writes the position of an entity relative to a seat; returns the index after it."""
    view[place] = row[2 * entity] - row[2 * seat]
    view[place + 1] = row[2 * entity + 1] - row[2 * seat + 1]
    return place + 2


@compile_inline
def write_pair(row, first, view, place):
    """Writes two consecutive numbers of a row; returns the index after them."""
    view[place], view[place + 1] = row[first], row[first + 1]
    return place + 2


@compile_inline
def write_others(world, row, seat, view, place):
    """Writes what a seat observes of other agents' places and velocities; returns the index after it."""
    if world.sees[seat, OTHERS]:
        for other in range(world.agents):
            if other != seat:
                place = write_offset(row, seat, other, view, place)
    if world.sees[seat, PREY]:
        for other in range(world.hunters, world.agents):
            if other != seat:
                place = write_pair(row, velocities_of(world) + 2 * other, view, place)
    return place


@compile_inline
def write_meanings(world, row, goals, seat, view, place):
    """Writes the colour of a seat's goal and the messages of others; returns the index after them."""
    if world.sees[seat, GOAL]:
        for colour in range(3):
            view[place + colour] = world.colours[goals[seat], colour]
        place += 3
    if world.sees[seat, MESSAGES]:
        for other in range(world.agents):
            if other != seat:
                for word in range(world.words):
                    view[place + word] = row[messages_of(world) + world.words * other + word]
                place += world.words
    return place


@compile_inline
def observe(world, row, goals, observation):
    """Writes observations (P, O), padded with zeros."""
    for seat in range(world.agents):
        view, place = observation[seat], 0
        if world.sees[seat, VELOCITY]:
            place = write_pair(row, velocities_of(world) + 2 * seat, view, place)
        if world.sees[seat, POSITION]:
            place = write_pair(row, 2 * seat, view, place)
        if world.sees[seat, LANDMARKS]:
            for entity in range(world.agents, world.radius.size):
                place = write_offset(row, seat, entity, view, place)
        place = write_others(world, row, seat, view, place)
        place = write_meanings(world, row, goals, seat, view, place)
        for padding in range(place, view.size):
            view[padding] = 0


@compile_inline
def open_world(world, seed, integers, row):
    """Places entities at random and draws goals: functions of the seed and the number of the episode."""
    stream, landmarks = mix_word(seed), world.radius.size - world.agents
    place = integers[OPENINGS] * (world.goals + 2 * world.radius.size) + 1
    for goal in range(world.goals):
        integers[GOALS + goal] = int(draw_uniform(stream, np.uint64(place + goal)) * landmarks)
    place += world.goals
    for number in range(2 * world.radius.size):
        row[number] = world.start[number // 2] * (2.0 * draw_uniform(stream, np.uint64(place + number)) - 1.0)
    for number in range(2 * world.radius.size, row.size):
        row[number] = 0
    integers[CLOCK] = 0


@compile_loop
def open_games(world, seeds, opens, integers, rows):
    """Opens the episodes of the worlds in which opens (B,) is True; seeds are uint64 (B,)."""
    for game in range(len(rows)):
        if opens[game]:
            open_world(world, seeds[game], integers[game], rows[game])


@compile_loop
def observe_games(world, integers, rows, observation):
    """Writes the observations (B, P, O) of all worlds."""
    for game in range(len(rows)):
        observe(world, rows[game], integers[game, GOALS:], observation[game])


@compile_loop
def act_games(world, actions, rows, forces, first, last):
    """Writes the forces (B, P, 2) and messages of discrete actions (B, P), in worlds `first` to `last` (exclusive).

    An agent that moves and speaks has the action movement + MOVES * word.
    """
    for game in range(first, last):
        for agent in range(world.agents):
            action = actions[game, agent]
            forces[game, agent, 0] = forces[game, agent, 1] = 0
            if world.moves[agent]:
                direction, action = action % MOVES, action // MOVES
                if direction > 0:
                    forces[game, agent, (direction - 1) // 2] = world.strength[agent] * (1 - 2 * (direction % 2))
            if world.speaks[agent]:
                for word in range(world.words):
                    rows[game, messages_of(world) + world.words * agent + word] = word == action


@compile_loop
def drive_games(world, actions, rows, forces, first, last):
    """Does the same as `act_games` for continuous actions (B, P, D): movements and then words, each from 0 to 1."""
    for game in range(first, last):
        for agent in range(world.agents):
            numbers, place = actions[game, agent], 0
            forces[game, agent, 0] = forces[game, agent, 1] = 0
            if world.moves[agent]:
                forces[game, agent, 0] = world.strength[agent] * (numbers[2] - numbers[1])
                forces[game, agent, 1] = world.strength[agent] * (numbers[4] - numbers[3])
                place = MOVES
            if world.speaks[agent]:
                for word in range(world.words):
                    rows[game, messages_of(world) + world.words * agent + word] = numbers[place + word]


@compile_loop
def step_games(world, forces, integers, rows, observation, reward, done, truncated, first, last):
    """Steps worlds `first` to `last` (exclusive) with the forces of their actions; observation and so on are written.

    Worlds that are done are not reopened.
    """
    for game in range(first, last):
        row, goals = rows[game], integers[game, GOALS:]
        push_apart(world, row, forces[game])
        move(world, row, forces[game])
        over = pay(world, row, goals, reward[game])
        integers[game, CLOCK] += 1
        truncated[game] = integers[game, CLOCK] >= world.max_cycles
        done[game] = over | truncated[game]
        observe(world, row, goals, observation[game])
